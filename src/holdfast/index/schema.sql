-- The index of the audit log. Filled from the segments; rebuilt whenever it does not match them.

CREATE OR REPLACE TABLE events (
    seq            BIGINT    NOT NULL,
    time           TIMESTAMP NOT NULL,
    clock          VARCHAR   NOT NULL,
    person         VARCHAR   NOT NULL,
    uid            BIGINT,
    role           VARCHAR   NOT NULL,
    session        VARCHAR,
    action         VARCHAR   NOT NULL,
    act            VARCHAR,
    phase          VARCHAR   NOT NULL,
    subject_kind   VARCHAR,
    subject_digest VARCHAR,
    level          VARCHAR,
    compartments   VARCHAR[],
    zones          VARCHAR[],
    params         JSON      NOT NULL,
    cause          BIGINT,
    leaf           VARCHAR   NOT NULL
);
COMMENT ON TABLE events IS 'Every event of the audit log, one row each.';
COMMENT ON COLUMN events.seq IS 'Sequence number; the first event is 0.';
COMMENT ON COLUMN events.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN events.clock IS 'What that time is worth: trusted or host.';
COMMENT ON COLUMN events.person IS 'Who did it: a person, an application''s key or a part of the appliance.';
COMMENT ON COLUMN events.uid IS 'User id of the process that asked; null if there was none.';
COMMENT ON COLUMN events.role IS 'The role acted in.';
COMMENT ON COLUMN events.session IS 'The session it was done in; null outside one.';
COMMENT ON COLUMN events.action IS 'What happened, for example train.run.done.';
COMMENT ON COLUMN events.act IS 'For intents and outcomes, the act: train.run for train.run.done.';
COMMENT ON COLUMN events.phase IS 'fact, intent (before an act begins) or outcome (when it ended).';
COMMENT ON COLUMN events.subject_kind IS 'Kind of the thing it was done to.';
COMMENT ON COLUMN events.subject_digest IS 'Digest of the thing it was done to.';
COMMENT ON COLUMN events.level IS 'Level of the subject''s label.';
COMMENT ON COLUMN events.compartments IS 'Compartments of the subject''s label.';
COMMENT ON COLUMN events.zones IS 'Residency zones of the subject''s label.';
COMMENT ON COLUMN events.params IS 'Facts of the action; read a field with params->>''name''.';
COMMENT ON COLUMN events.cause IS 'Sequence number of the event that it follows from; for outcomes, the intent.';
COMMENT ON COLUMN events.leaf IS 'Leaf hash in the log''s Merkle tree (RFC 6962).';

CREATE OR REPLACE TABLE head (
    origin      VARCHAR NOT NULL,
    size        BIGINT  NOT NULL,
    root        VARCHAR NOT NULL,
    fingerprint UBIGINT NOT NULL
);
COMMENT ON TABLE head IS 'How much of which log this index holds; compared with the log at start.';
COMMENT ON COLUMN head.origin IS 'The log''s name.';
COMMENT ON COLUMN head.size IS 'Events indexed.';
COMMENT ON COLUMN head.root IS 'Merkle root over them, hexadecimal.';
COMMENT ON COLUMN head.fingerprint IS 'XOR over the hashes of all rows of events; tells whether a cell was changed.';
INSERT INTO head VALUES ('', 0, '', 0);

CREATE OR REPLACE VIEW acts AS
SELECT
    i.seq, i.time AS started, o.time AS ended, date_diff('millisecond', i.time, o.time) / 1000.0 AS seconds,
    i.action AS act, i.person, i.uid, i.role, i.session,
    coalesce(split_part(o.action, '.', -1), 'open') AS outcome, o.seq AS outcome_seq,
    i.subject_kind, i.subject_digest, i.level, i.compartments, i.zones,
    i.params AS asked, o.params AS result
FROM events AS i
LEFT JOIN events AS o ON o.cause = i.seq AND o.phase = 'outcome'
WHERE i.phase = 'intent';
COMMENT ON VIEW acts IS 'Every act: its intent joined with its outcome (done, failed, cancelled, interrupted or open).';

CREATE OR REPLACE VIEW denials AS
SELECT seq, time, person, uid, role, session, action, subject_kind, subject_digest, params
FROM events
WHERE action IN ('access.denied', 'worker.denied');
COMMENT ON VIEW denials IS 'What persons, processes and confined workers asked for and were refused.';

CREATE OR REPLACE VIEW artefacts AS
SELECT
    subject_digest AS digest, min(subject_kind) AS kind, min(seq) AS first_seq, max(seq) AS last_seq,
    min(time) AS first_seen, max(time) AS last_seen, count(*) AS events
FROM events
WHERE subject_digest IS NOT NULL
GROUP BY subject_digest;
COMMENT ON VIEW artefacts IS 'Every thing that an event was about, and when the log first and last spoke of it.';

CREATE OR REPLACE VIEW answers AS
SELECT
    seq, started, ended, seconds, person AS application, outcome, outcome_seq,
    asked->>'model' AS model, subject_digest, level, asked->>'sealed_for' AS sealed_for, asked, result
FROM acts
WHERE act = 'answer';
COMMENT ON VIEW answers IS 'Every request of an application, with the model that answered it; prompts stay sealed.';
