"""What is asked of the hall: jobs, requests, how they arrive, and the readers of real logs."""
