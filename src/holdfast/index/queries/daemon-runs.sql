-- Every life of the daemon: how long, and how it ended.
SELECT seq, started, ending, stopped, last_time, events, previous, reconciled, version, boot
FROM daemon_runs
ORDER BY seq
