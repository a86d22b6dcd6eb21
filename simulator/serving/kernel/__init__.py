"""The compiled heart of a crowd: iterations, arrivals and routing over plain arrays.

The readable form is `twin.TwinCrowd` with `batching.Replica`; this equals it exactly, on every
request and power bin. All state lies in integer arrays that `compiled_crowd` owns: commands act on
them from Python, `advance` moves them through time. Times are picoseconds since a base that the
owner moves on, so that they fit 64 bits. A call comes back wherever Python must act, even within
an instant, and the next call goes on exactly there.

`columns` are the words and `state` the arrays; `ends` and `power` what every plan writes; `batch`,
`planning` and `routing` what replicas and the door do, `prefixes` what they remember of prompts,
`groups` those that advance together; `events` the loop, and `forms` what it is compiled in: lean, and
with all features. Numba's disk cache does not see edits in other files, so the loop, the one
function with a cache, closes over a digest of all files.
"""

from __future__ import annotations

from simulator.serving.kernel.batch import begin as begin
from simulator.serving.kernel.batch import end_row as end_row
from simulator.serving.kernel.columns import *
from simulator.serving.kernel.ends import tree_set as tree_set
from simulator.serving.kernel.events import advance as advance
from simulator.serving.kernel.events import featured_advance as featured_advance
from simulator.serving.kernel.events import lean_advance as lean_advance
from simulator.serving.kernel.forms import asks_for_features as asks_for_features
from simulator.serving.kernel.groups import keep_pace as keep_pace
from simulator.serving.kernel.groups import together_doing as together_doing
from simulator.serving.kernel.groups import together_mw as together_mw
from simulator.serving.kernel.power import meter_read as meter_read
from simulator.serving.kernel.power import power_place as power_place
from simulator.serving.kernel.prefixes import begin_sharing as begin_sharing
from simulator.serving.kernel.routing import put_last as put_last
from simulator.serving.kernel.spans import name_home as name_home
from simulator.serving.kernel.state import Prefixes as Prefixes
from simulator.serving.kernel.state import State as State
from simulator.serving.kernel.state import plain as plain
