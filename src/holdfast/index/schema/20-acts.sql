-- Who did what, when, to what.

CREATE VIEW acts AS
SELECT
    i.seq, i.time AS started, o.time AS ended, date_diff('millisecond', i.time, o.time) / 1000.0 AS seconds,
    i.action AS act, i.person, i.uid, i.role, i.session,
    coalesce(split_part(o.action, '.', -1), 'open') AS outcome, o.seq AS outcome_seq,
    i.subject_kind, i.subject_digest, i.level, i.compartments, i.zones,
    i.params AS asked, o.params AS result
FROM events AS i
LEFT JOIN events AS o ON o.cause = i.seq AND o.phase = 'outcome'
WHERE i.phase = 'intent';
COMMENT ON VIEW acts IS 'Every act: its intent joined with its outcome.';
COMMENT ON COLUMN acts.seq IS 'Sequence number of the intent.';
COMMENT ON COLUMN acts.started IS 'When the intent was recorded, UTC.';
COMMENT ON COLUMN acts.ended IS 'When the outcome was recorded, UTC.';
COMMENT ON COLUMN acts.seconds IS 'Between the two.';
COMMENT ON COLUMN acts.act IS 'The act, for example train.run.';
COMMENT ON COLUMN acts.person IS 'Who did it.';
COMMENT ON COLUMN acts.uid IS 'User id of the process that asked.';
COMMENT ON COLUMN acts.role IS 'The role acted in.';
COMMENT ON COLUMN acts.session IS 'The session it was done in.';
COMMENT ON COLUMN acts.outcome IS 'done, failed, cancelled, interrupted, or open while there is none.';
COMMENT ON COLUMN acts.outcome_seq IS 'Sequence number of the outcome.';
COMMENT ON COLUMN acts.subject_kind IS 'Kind of the thing it was done to.';
COMMENT ON COLUMN acts.subject_digest IS 'Digest of the thing it was done to.';
COMMENT ON COLUMN acts.level IS 'Level of the subject''s label.';
COMMENT ON COLUMN acts.compartments IS 'Compartments of the subject''s label.';
COMMENT ON COLUMN acts.zones IS 'Residency zones of the subject''s label.';
COMMENT ON COLUMN acts.asked IS 'Parameters of the intent.';
COMMENT ON COLUMN acts.result IS 'Parameters of the outcome.';

CREATE VIEW people AS
SELECT
    p.one->>'name' AS person, TRY_CAST(p.one->'roles' AS VARCHAR[]) AS roles, TRY_CAST(p.one->'uids' AS BIGINT[]) AS uids,
    p.one->>'fingerprint' AS fingerprint, p.seq
FROM (
    SELECT seq, unnest(TRY_CAST(params->'people' AS JSON[])) AS one FROM events WHERE action IN ('site.founded', 'people.listed')
) AS p;
COMMENT ON VIEW people IS 'The people that the site was founded with.';
COMMENT ON COLUMN people.person IS 'How events name them.';
COMMENT ON COLUMN people.roles IS 'What they are trusted with.';
COMMENT ON COLUMN people.uids IS 'The local users as whom they may connect.';
COMMENT ON COLUMN people.fingerprint IS 'Of their public key document.';
COMMENT ON COLUMN people.seq IS 'The event that says so.';

CREATE VIEW sessions AS
SELECT
    session, person, any_value(uid) AS uid, list_sort(list(DISTINCT role)) AS roles,
    min(time) FILTER (action = 'session.opened') AS opened, max(time) FILTER (action = 'session.closed') AS closed,
    min(seq) AS first_seq, max(seq) AS last_seq, max(time) AS last_time, count(*) AS events
FROM events
WHERE session IS NOT NULL
GROUP BY session, person;
COMMENT ON VIEW sessions IS 'Every session: who opened it, from which local user, and how much was done in it.';
COMMENT ON COLUMN sessions.session IS 'Its public name.';
COMMENT ON COLUMN sessions.person IS 'Who proved to hold their key.';
COMMENT ON COLUMN sessions.uid IS 'The local user of the connection.';
COMMENT ON COLUMN sessions.roles IS 'Roles that were acted in.';
COMMENT ON COLUMN sessions.opened IS 'When it was opened, UTC.';
COMMENT ON COLUMN sessions.closed IS 'When it was closed; null if it ended by itself.';
COMMENT ON COLUMN sessions.first_seq IS 'Its first event.';
COMMENT ON COLUMN sessions.last_seq IS 'Its last event.';
COMMENT ON COLUMN sessions.last_time IS 'When that was recorded, UTC.';
COMMENT ON COLUMN sessions.events IS 'Events recorded in it.';

CREATE VIEW denials AS
SELECT
    seq, time, action,
    CASE WHEN action IN ('access.denied', 'access.refused') THEN params->>'person' ELSE person END AS person,
    coalesce(TRY_CAST(params->>'uid' AS BIGINT), uid) AS uid,
    coalesce(params->>'worker', params->>'producer') AS worker,
    coalesce(params->>'route', params->>'syscall', params->>'action') AS wanted,
    params->>'destination' AS destination,
    coalesce(params->>'reason', params->>'error', list_aggregate(list_sort(json_keys(params, '$.reasons')), 'string_agg', ', ')) AS reason,
    coalesce(TRY_CAST(params->>'count' AS BIGINT), 1) AS count,
    params
FROM events
WHERE action IN ('access.denied', 'access.refused', 'worker.denied', 'serve.refused', 'serve.request.failed', 'audit.refused');
COMMENT ON VIEW denials IS 'What persons, strangers, applications and confined workers asked for and were refused.';
COMMENT ON COLUMN denials.seq IS 'The event.';
COMMENT ON COLUMN denials.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN denials.action IS 'access.denied, access.refused (many, counted), worker.denied, serve.refused (many, counted), serve.request.failed or audit.refused.';
COMMENT ON COLUMN denials.person IS 'Who asked, as far as they had shown who they are.';
COMMENT ON COLUMN denials.uid IS 'User id of the process that asked.';
COMMENT ON COLUMN denials.worker IS 'The confined worker or producer that tried.';
COMMENT ON COLUMN denials.wanted IS 'The route, system call or action that was tried.';
COMMENT ON COLUMN denials.destination IS 'Where a worker wanted to connect to.';
COMMENT ON COLUMN denials.reason IS 'Why it was refused; several where many are counted in one event.';
COMMENT ON COLUMN denials.count IS 'How many refusals the event stands for, or how often a worker had then tried the same.';
COMMENT ON COLUMN denials.params IS 'All facts of the event.';

CREATE VIEW subjects AS
SELECT
    subject_digest AS digest, min(subject_kind) AS kind, min(seq) AS first_seq, max(seq) AS last_seq,
    min(time) AS first_seen, max(time) AS last_seen, count(*) AS events
FROM events
WHERE subject_digest IS NOT NULL
GROUP BY subject_digest;
COMMENT ON VIEW subjects IS 'Every thing that an event was about, and when the log first and last spoke of it.';
COMMENT ON COLUMN subjects.digest IS 'Its digest.';
COMMENT ON COLUMN subjects.kind IS 'Its kind.';
COMMENT ON COLUMN subjects.first_seq IS 'The first event about it.';
COMMENT ON COLUMN subjects.last_seq IS 'The last event about it.';
COMMENT ON COLUMN subjects.first_seen IS 'When the first was recorded, UTC.';
COMMENT ON COLUMN subjects.last_seen IS 'When the last was recorded, UTC.';
COMMENT ON COLUMN subjects.events IS 'Events about it.';

CREATE VIEW exceptions AS
SELECT
    a.seq, a.time, a.person AS requester, a.params->'exception'->>'kind' AS kind, a.params->'exception'->>'subject' AS subject,
    a.params->'exception'->>'until' AS until, a.params->'exception'->>'reason' AS reason,
    CASE WHEN d.action IS NULL THEN 'open' WHEN d.action = 'exception.refused' THEN 'refused' ELSE 'granted' END AS decision,
    d.person AS decided_by, d.seq AS decided_seq
FROM events AS a
LEFT JOIN events AS d
    ON d.action IN ('exception.grant.done', 'exception.refused') AND TRY_CAST(d.params->>'request' AS BIGINT) = a.seq
WHERE a.action = 'exception.asked';
COMMENT ON VIEW exceptions IS 'Exceptions to a rule: who asked for them, and what a second person decided.';
COMMENT ON COLUMN exceptions.seq IS 'The request.';
COMMENT ON COLUMN exceptions.time IS 'When it was asked for, UTC.';
COMMENT ON COLUMN exceptions.requester IS 'Who asked.';
COMMENT ON COLUMN exceptions.kind IS 'expired, revoked or floor.';
COMMENT ON COLUMN exceptions.subject IS 'What it is about.';
COMMENT ON COLUMN exceptions.until IS 'Until when it was asked for.';
COMMENT ON COLUMN exceptions.reason IS 'Why.';
COMMENT ON COLUMN exceptions.decision IS 'open, granted or refused.';
COMMENT ON COLUMN exceptions.decided_by IS 'Who decided.';
COMMENT ON COLUMN exceptions.decided_seq IS 'The decision.';
