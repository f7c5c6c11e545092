-- What the index holds; everything else is a view of it. Filled from the segments; built anew whenever it does not match them.

CREATE TABLE events (
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
    source_name    VARCHAR   NOT NULL,
    source_run     VARCHAR   NOT NULL,
    source_count   BIGINT    NOT NULL,
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
COMMENT ON COLUMN events.action IS 'What happened, for example train.run.done; see event_types.';
COMMENT ON COLUMN events.act IS 'For intents and outcomes, the act: train.run for train.run.done.';
COMMENT ON COLUMN events.phase IS 'fact, intent (before an act begins) or outcome (when it ended).';
COMMENT ON COLUMN events.subject_kind IS 'Kind of the thing it was done to.';
COMMENT ON COLUMN events.subject_digest IS 'Digest of the thing it was done to.';
COMMENT ON COLUMN events.level IS 'Level of the subject''s label.';
COMMENT ON COLUMN events.compartments IS 'Compartments of the subject''s label.';
COMMENT ON COLUMN events.zones IS 'Residency zones of the subject''s label.';
COMMENT ON COLUMN events.params IS 'Facts of the action; read a field with params->>''name''.';
COMMENT ON COLUMN events.cause IS 'Sequence number of the event that it follows from; for outcomes, the intent.';
COMMENT ON COLUMN events.source_name IS 'Which producer handed it in: daemon or serve.';
COMMENT ON COLUMN events.source_run IS 'Which life of that producer.';
COMMENT ON COLUMN events.source_count IS 'Its number among those of that run, from 0; a missing one is a missing event.';
COMMENT ON COLUMN events.leaf IS 'Leaf hash in the log''s Merkle tree (RFC 6962).';

CREATE TABLE head (
    origin VARCHAR NOT NULL,
    first  BIGINT  NOT NULL,
    size   BIGINT  NOT NULL,
    root   VARCHAR NOT NULL
);
COMMENT ON TABLE head IS 'Which part of which log this index holds: one row.';
COMMENT ON COLUMN head.origin IS 'The log''s name.';
COMMENT ON COLUMN head.first IS 'First event here; what precedes it was archived and is not in the index.';
COMMENT ON COLUMN head.size IS 'One past the last event here.';
COMMENT ON COLUMN head.root IS 'Merkle root over all events below size, hexadecimal.';

CREATE TABLE event_types (
    action    VARCHAR   NOT NULL,
    act       VARCHAR,
    phase     VARCHAR   NOT NULL,
    producer  VARCHAR   NOT NULL,
    essential BOOLEAN   NOT NULL,
    meaning   VARCHAR   NOT NULL,
    sentence  VARCHAR   NOT NULL,
    controls  VARCHAR[] NOT NULL,
    params    JSON      NOT NULL
);
COMMENT ON TABLE event_types IS 'Everything that may be written into the log.';
COMMENT ON COLUMN event_types.action IS 'As in events.action.';
COMMENT ON COLUMN event_types.act IS 'For intents and outcomes, the act.';
COMMENT ON COLUMN event_types.phase IS 'fact, intent or outcome.';
COMMENT ON COLUMN event_types.producer IS 'Who may write it: daemon or serve.';
COMMENT ON COLUMN event_types.essential IS 'Whether the log takes it when only its reserve of space is left.';
COMMENT ON COLUMN event_types.meaning IS 'What it means.';
COMMENT ON COLUMN event_types.sentence IS 'The form of the sentence in which one such event is told.';
COMMENT ON COLUMN event_types.controls IS 'The controls of NIST SP 800-53 that it serves.';
COMMENT ON COLUMN event_types.params IS 'Its parameters and their types.';
