-- Whether anything is missing: lives of the daemon, counters of the producers, heartbeats, the clock, witnesses.

CREATE VIEW daemon_runs AS
SELECT
    s.seq, s.time AS started, s.source_run AS run, s.params->>'version' AS version, s.params->>'boot' AS boot,
    TRY_CAST(s.params->>'heartbeat' AS DOUBLE) AS heartbeat, s.params->>'previous' AS previous,
    CAST(json_array_length(s.params, '$.reconciled') AS BIGINT) AS reconciled, s.params->>'torn' AS torn,
    x.time AS stopped, x.seq AS stopped_seq, r.last_seq, r.last_time, r.events,
    CASE
        WHEN x.seq IS NOT NULL THEN 'stopped'
        WHEN s.seq < max(s.seq) OVER () THEN 'unexplained'
        ELSE 'running'
    END AS ending
FROM events AS s
LEFT JOIN events AS x ON x.action = 'daemon.stopped' AND x.source_run = s.source_run
LEFT JOIN (
    SELECT source_run, max(seq) AS last_seq, max(time) AS last_time, count(*) AS events
    FROM events
    WHERE source_name = 'daemon'
    GROUP BY source_run
) AS r ON r.source_run = s.source_run
WHERE s.action = 'daemon.started';
COMMENT ON VIEW daemon_runs IS 'Every life of the daemon: when it began, and how it ended.';
COMMENT ON COLUMN daemon_runs.seq IS 'The event daemon.started.';
COMMENT ON COLUMN daemon_runs.started IS 'When it was recorded, UTC.';
COMMENT ON COLUMN daemon_runs.run IS 'As in events.source_run.';
COMMENT ON COLUMN daemon_runs.version IS 'The software''s version.';
COMMENT ON COLUMN daemon_runs.boot IS 'Which start of the machine it ran under.';
COMMENT ON COLUMN daemon_runs.heartbeat IS 'Seconds between heartbeats.';
COMMENT ON COLUMN daemon_runs.previous IS 'How the run before had ended, as this one found it: stopped, unexplained or none.';
COMMENT ON COLUMN daemon_runs.reconciled IS 'Acts without an outcome that it found.';
COMMENT ON COLUMN daemon_runs.torn IS 'The file that keeps an unfinished write it found.';
COMMENT ON COLUMN daemon_runs.stopped IS 'When it stopped on request, UTC.';
COMMENT ON COLUMN daemon_runs.stopped_seq IS 'The event daemon.stopped.';
COMMENT ON COLUMN daemon_runs.last_seq IS 'Its last event.';
COMMENT ON COLUMN daemon_runs.last_time IS 'When that was recorded, UTC.';
COMMENT ON COLUMN daemon_runs.events IS 'Events that it recorded itself.';
COMMENT ON COLUMN daemon_runs.ending IS 'stopped, running, or unexplained: another followed though this one never said that it stopped.';

CREATE VIEW heartbeats AS
SELECT
    seq, time, run, uptime, free, size, root, after, expected,
    CASE WHEN after > 2 * expected + 5 THEN CAST(floor(after / expected) AS BIGINT) - 1 ELSE 0 END AS missed
FROM (
    SELECT
        seq, time, action, source_run AS run, TRY_CAST(params->>'uptime_s' AS DOUBLE) AS uptime,
        TRY_CAST(params->>'free' AS BIGINT) AS free, TRY_CAST(params->>'size' AS BIGINT) AS size, params->>'root' AS root,
        date_diff('millisecond', lag(time) OVER lives, time) / 1000.0 AS after,
        TRY_CAST(first_value(params->>'heartbeat') OVER lives AS DOUBLE) AS expected
    FROM events
    WHERE action IN ('daemon.started', 'daemon.heartbeat')
    WINDOW lives AS (PARTITION BY source_run ORDER BY seq)
)
WHERE action = 'daemon.heartbeat';
COMMENT ON VIEW heartbeats IS 'Every heartbeat of the daemon, and how late it came.';
COMMENT ON COLUMN heartbeats.seq IS 'The event.';
COMMENT ON COLUMN heartbeats.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN heartbeats.run IS 'The daemon''s life.';
COMMENT ON COLUMN heartbeats.uptime IS 'Seconds since the machine''s start.';
COMMENT ON COLUMN heartbeats.free IS 'Bytes free for the log.';
COMMENT ON COLUMN heartbeats.size IS 'Events in the log then.';
COMMENT ON COLUMN heartbeats.root IS 'Their Merkle root.';
COMMENT ON COLUMN heartbeats.after IS 'Seconds since the heartbeat before it, or since the start.';
COMMENT ON COLUMN heartbeats.expected IS 'Seconds that were announced at the start.';
COMMENT ON COLUMN heartbeats.missed IS 'Heartbeats that fit into that time and are not there; one that is late by less than its period and 5 s is not missed.';

CREATE VIEW sources AS
SELECT
    source_name AS name, source_run AS run, min(seq) AS first_seq, max(seq) AS last_seq, min(time) AS first_time,
    max(time) AS last_time, count(*) AS events, min(source_count) AS first_count, max(source_count) AS last_count,
    max(source_count) + 1 - count(*) - CASE WHEN (SELECT any_value(first) FROM head) > 0 THEN min(source_count) ELSE 0 END
        AS missing
FROM events
GROUP BY source_name, source_run;
COMMENT ON VIEW sources IS 'Every life of every producer: how many events it counted, and how many are here.';
COMMENT ON COLUMN sources.name IS 'daemon or serve.';
COMMENT ON COLUMN sources.run IS 'Which life of it.';
COMMENT ON COLUMN sources.first_seq IS 'Its first event.';
COMMENT ON COLUMN sources.last_seq IS 'Its last event.';
COMMENT ON COLUMN sources.first_time IS 'When the first was recorded, UTC.';
COMMENT ON COLUMN sources.last_time IS 'When the last was recorded, UTC.';
COMMENT ON COLUMN sources.events IS 'Events of it that are here.';
COMMENT ON COLUMN sources.first_count IS 'Its number of the first.';
COMMENT ON COLUMN sources.last_count IS 'Its number of the last.';
COMMENT ON COLUMN sources.missing IS 'Numbers that are not here; 0 if nothing is missing. What was archived is not counted.';

CREATE VIEW source_gaps AS
SELECT seq, time, name, run, before, here, here - before - 1 AS missing
FROM (
    SELECT
        seq, time, source_name AS name, source_run AS run, source_count AS here,
        lag(source_count, 1, CASE WHEN (SELECT any_value(first) FROM head) > 0 THEN source_count - 1 ELSE -1 END)
            OVER (PARTITION BY source_name, source_run ORDER BY seq) AS before
    FROM events
)
WHERE here != before + 1;
COMMENT ON VIEW source_gaps IS 'Every place where a producer''s numbers do not follow each other; empty if nothing is missing.';
COMMENT ON COLUMN source_gaps.seq IS 'The event after the gap.';
COMMENT ON COLUMN source_gaps.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN source_gaps.name IS 'daemon or serve.';
COMMENT ON COLUMN source_gaps.run IS 'Which life of it.';
COMMENT ON COLUMN source_gaps.before IS 'Its number of the event before the gap; -1 at the beginning.';
COMMENT ON COLUMN source_gaps.here IS 'Its number of the event after the gap.';
COMMENT ON COLUMN source_gaps.missing IS 'Numbers in between; below zero if numbers come again.';

CREATE VIEW clock_steps AS
SELECT seq, time, 'recorded' AS told, TRY_CAST(params->>'seconds' AS DOUBLE) AS seconds
FROM events
WHERE action = 'clock.stepped'
UNION ALL
SELECT seq, time, 'seen', date_diff('microsecond', before, time) / 1000000.0
FROM (SELECT seq, time, lag(time) OVER (ORDER BY seq) AS before FROM events)
WHERE time < before;
COMMENT ON VIEW clock_steps IS 'Every step of the clock: those that the daemon recorded, and every event that is earlier than the one before it.';
COMMENT ON COLUMN clock_steps.seq IS 'The event.';
COMMENT ON COLUMN clock_steps.time IS 'Its time, UTC.';
COMMENT ON COLUMN clock_steps.told IS 'recorded, or seen in the order of events.';
COMMENT ON COLUMN clock_steps.seconds IS 'How far; below zero: back.';

CREATE VIEW cosignatures AS
SELECT
    seq, time, person, params->>'witness' AS witness, params->>'origin' AS origin,
    TRY_CAST(params->>'size' AS BIGINT) AS size, params->>'root' AS root, params->>'time' AS witnessed
FROM events
WHERE action = 'audit.cosigned';
COMMENT ON VIEW cosignatures IS 'Every signature of a witness that the log keeps.';
COMMENT ON COLUMN cosignatures.seq IS 'The event.';
COMMENT ON COLUMN cosignatures.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN cosignatures.person IS 'Who brought it.';
COMMENT ON COLUMN cosignatures.witness IS 'The witness.';
COMMENT ON COLUMN cosignatures.origin IS 'The log that it saw.';
COMMENT ON COLUMN cosignatures.size IS 'Events that it saw.';
COMMENT ON COLUMN cosignatures.root IS 'The Merkle root that it saw.';
COMMENT ON COLUMN cosignatures.witnessed IS 'When it signed, by its own clock.';

CREATE VIEW witnesses AS
SELECT
    a.params->>'name' AS witness, a.seq AS added_seq, a.time AS added, a.person AS added_by, a.params->'keys' AS keys,
    r.seq AS removed_seq, r.time AS removed, r.person AS removed_by, r.params->>'reason' AS removed_why,
    c.cosignatures, c.last_size, c.last_time
FROM events AS a
LEFT JOIN events AS r
    ON r.action = 'audit.witness.removed' AND r.params->>'name' = a.params->>'name' AND r.seq > a.seq
    AND NOT EXISTS (
        SELECT 1 FROM events AS b
        WHERE b.action = 'audit.witness.removed' AND b.params->>'name' = a.params->>'name' AND b.seq > a.seq AND b.seq < r.seq
    )
LEFT JOIN (
    SELECT witness, count(*) AS cosignatures, max(size) AS last_size, max(time) AS last_time FROM cosignatures GROUP BY witness
) AS c ON c.witness = a.params->>'name'
WHERE a.action = 'audit.witness.added';
COMMENT ON VIEW witnesses IS 'Who was asked to witness the log, and what they last saw.';
COMMENT ON COLUMN witnesses.witness IS 'The witness.';
COMMENT ON COLUMN witnesses.added_seq IS 'The event that added it.';
COMMENT ON COLUMN witnesses.added IS 'When that was recorded, UTC.';
COMMENT ON COLUMN witnesses.added_by IS 'Who added it.';
COMMENT ON COLUMN witnesses.keys IS 'Its verifier keys.';
COMMENT ON COLUMN witnesses.removed_seq IS 'The event that removed it.';
COMMENT ON COLUMN witnesses.removed IS 'When that was recorded, UTC.';
COMMENT ON COLUMN witnesses.removed_by IS 'Who removed it.';
COMMENT ON COLUMN witnesses.removed_why IS 'Why.';
COMMENT ON COLUMN witnesses.cosignatures IS 'Signatures that it gave.';
COMMENT ON COLUMN witnesses.last_size IS 'The largest size that it signed.';
COMMENT ON COLUMN witnesses.last_time IS 'When the last was recorded, UTC.';

CREATE VIEW completeness AS
SELECT seq, time, 'missing events' AS finding, format('{} {}: number {} follows {}', name, run, here, before) AS detail
FROM source_gaps
UNION ALL
SELECT seq, started, 'unexplained end', format('daemon {} ended after event {} without saying so', run, last_seq)
FROM daemon_runs
WHERE ending = 'unexplained'
UNION ALL
SELECT seq, time, 'missing heartbeat', format('{} s after the one before; {} s were announced', after, expected)
FROM heartbeats
WHERE missed > 0
UNION ALL
SELECT seq, time, 'clock step', format('{} s, {}', seconds, told)
FROM clock_steps
UNION ALL
SELECT seq, time, 'little space', action
FROM events
WHERE starts_with(action, 'audit.space.')
UNION ALL
SELECT seq, time, 'index rebuilt', coalesce(params->>'reason', '')
FROM events
WHERE action = 'audit.index.rebuilt'
UNION ALL
SELECT seq, time, 'home restored', coalesce(params->>'origin', '')
FROM events
WHERE action = 'home.restored';
COMMENT ON VIEW completeness IS 'Everything that speaks of silence or of loss, from all the views of this part.';
COMMENT ON COLUMN completeness.seq IS 'The event at which it is found.';
COMMENT ON COLUMN completeness.time IS 'When that was recorded, UTC.';
COMMENT ON COLUMN completeness.finding IS 'What kind of finding.';
COMMENT ON COLUMN completeness.detail IS 'What exactly.';
