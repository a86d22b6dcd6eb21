"""Model times hardware times network: step time, iteration time, watts."""
