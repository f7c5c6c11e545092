-- Which data is in which model: the records of artefacts, and what was made from what.

CREATE VIEW artefact_records AS
SELECT
    seq, time, person, action, action != 'artefact.listed' AS here, record->>'digest' AS digest, record->>'kind' AS kind,
    record->>'name' AS name, record->>'version' AS version, record->'label'->>'level' AS level,
    TRY_CAST(record->'label'->'compartments' AS VARCHAR[]) AS compartments,
    TRY_CAST(record->'label'->'zones' AS VARCHAR[]) AS zones, bytes, files,
    TRY_CAST(record->'parents' AS VARCHAR[]) AS parents, record->'meta' AS meta
FROM (
    SELECT
        seq, time, person, action, record,
        list_sum(TRY_CAST(json_extract(record, '$.files[*].size') AS BIGINT[])) AS bytes,
        CAST(json_array_length(record, '$.files') AS BIGINT) AS files
    FROM (
        SELECT seq, time, person, action, unnest(TRY_CAST(params->'artefacts' AS JSON[])) AS record
        FROM events
        WHERE source_name = 'daemon' AND (ends_with(action, '.done') OR ends_with(action, '.added'))
            AND json_type(params, '$.artefacts') = 'ARRAY'
    )
    WHERE json_type(record) = 'OBJECT'
    UNION ALL
    SELECT
        seq, time, person, action, params->'artefact', TRY_CAST(params->>'bytes' AS BIGINT),
        TRY_CAST(params->>'files' AS BIGINT)
    FROM events
    WHERE action = 'artefact.listed' AND params->>'part' = '1'
);
COMMENT ON VIEW artefact_records IS 'Every record of an artefact that the log holds: what was made or sent in here, and what media listed.';
COMMENT ON COLUMN artefact_records.seq IS 'The event.';
COMMENT ON COLUMN artefact_records.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN artefact_records.person IS 'Who made, sent or imported it.';
COMMENT ON COLUMN artefact_records.action IS 'The event''s action.';
COMMENT ON COLUMN artefact_records.here IS 'True if it was made or sent in here, false if a medium listed it.';
COMMENT ON COLUMN artefact_records.digest IS 'Its digest.';
COMMENT ON COLUMN artefact_records.kind IS 'base, tokenizer, adapter, dataset, recipe, run, merged, gguf, suite, evaluation or report.';
COMMENT ON COLUMN artefact_records.name IS 'Name given by its maker.';
COMMENT ON COLUMN artefact_records.version IS 'Version given by its maker.';
COMMENT ON COLUMN artefact_records.level IS 'Level of its label.';
COMMENT ON COLUMN artefact_records.compartments IS 'Compartments of its label.';
COMMENT ON COLUMN artefact_records.zones IS 'Residency zones of its label.';
COMMENT ON COLUMN artefact_records.bytes IS 'Sum of its files'' sizes.';
COMMENT ON COLUMN artefact_records.files IS 'Number of its files.';
COMMENT ON COLUMN artefact_records.parents IS 'Digests of what it was made from.';
COMMENT ON COLUMN artefact_records.meta IS 'Facts of its kind.';

CREATE VIEW artefacts AS
SELECT
    digest, arg_max(kind, (here, seq)) AS kind, arg_max(name, (here, seq)) AS name, arg_max(version, (here, seq)) AS version,
    arg_max(level, seq) AS level, arg_max(compartments, seq) AS compartments, arg_max(zones, seq) AS zones,
    max(bytes) AS bytes, max(files) AS files, bool_or(here) AS here, min(seq) AS first_seq, max(seq) AS last_seq,
    min(time) AS first_seen, max(time) AS last_seen
FROM artefact_records
GROUP BY digest;
COMMENT ON VIEW artefacts IS 'Every artefact on the record, once.';
COMMENT ON COLUMN artefacts.digest IS 'Its digest.';
COMMENT ON COLUMN artefacts.kind IS 'Its kind.';
COMMENT ON COLUMN artefacts.name IS 'Its name; what this site made it knows better than a medium that brought the same bytes.';
COMMENT ON COLUMN artefacts.version IS 'Its version.';
COMMENT ON COLUMN artefacts.level IS 'Level of the label recorded last.';
COMMENT ON COLUMN artefacts.compartments IS 'Compartments of that label.';
COMMENT ON COLUMN artefacts.zones IS 'Residency zones of that label.';
COMMENT ON COLUMN artefacts.bytes IS 'Sum of its files'' sizes.';
COMMENT ON COLUMN artefacts.files IS 'Number of its files.';
COMMENT ON COLUMN artefacts.here IS 'Whether it was made or sent in here.';
COMMENT ON COLUMN artefacts.first_seq IS 'The event that recorded it first.';
COMMENT ON COLUMN artefacts.last_seq IS 'The event that recorded it last.';
COMMENT ON COLUMN artefacts.first_seen IS 'When the first was recorded, UTC.';
COMMENT ON COLUMN artefacts.last_seen IS 'When the last was recorded, UTC.';

CREATE VIEW derivations AS
SELECT digest AS made, parent, min(seq) AS seq
FROM (SELECT digest, seq, unnest(parents) AS parent FROM artefact_records)
GROUP BY digest, parent;
COMMENT ON VIEW derivations IS 'What was made directly from what.';
COMMENT ON COLUMN derivations.made IS 'Digest of what was made.';
COMMENT ON COLUMN derivations.parent IS 'Digest of what it was made from.';
COMMENT ON COLUMN derivations.seq IS 'The event that says so.';

CREATE VIEW lineage AS
WITH RECURSIVE
known AS MATERIALIZED (SELECT digest, kind, name, version FROM artefacts),
steps AS MATERIALIZED (SELECT made, parent FROM derivations),
walk AS (
    SELECT made AS digest, parent AS ancestor, 1 AS distance FROM steps
    UNION
    SELECT w.digest, s.parent, w.distance + 1 FROM walk AS w JOIN steps AS s ON s.made = w.ancestor WHERE w.distance < 32
)
SELECT
    w.digest, d.kind, d.name, d.version, w.ancestor, a.kind AS ancestor_kind, a.name AS ancestor_name,
    a.version AS ancestor_version, min(w.distance) AS distance
FROM walk AS w
LEFT JOIN known AS d ON d.digest = w.digest
LEFT JOIN known AS a ON a.digest = w.ancestor
GROUP BY ALL;
COMMENT ON VIEW lineage IS 'Everything that an artefact was made from, over at most 32 steps.';
COMMENT ON COLUMN lineage.digest IS 'The artefact.';
COMMENT ON COLUMN lineage.kind IS 'Its kind.';
COMMENT ON COLUMN lineage.name IS 'Its name.';
COMMENT ON COLUMN lineage.version IS 'Its version.';
COMMENT ON COLUMN lineage.ancestor IS 'Digest of something that it was made from, directly or not.';
COMMENT ON COLUMN lineage.ancestor_kind IS 'Its kind; null if the log holds no record of it.';
COMMENT ON COLUMN lineage.ancestor_name IS 'Its name.';
COMMENT ON COLUMN lineage.ancestor_version IS 'Its version.';
COMMENT ON COLUMN lineage.distance IS 'Steps between them on the shortest way.';

CREATE VIEW model_data AS
SELECT
    digest AS model, kind AS model_kind, name AS model_name, version AS model_version, ancestor AS dataset,
    ancestor_name AS dataset_name, ancestor_version AS dataset_version, distance
FROM lineage
WHERE kind IN ('base', 'adapter', 'merged', 'gguf') AND ancestor_kind = 'dataset';
COMMENT ON VIEW model_data IS 'Which data is in which model: every data set in the lineage of weights.';
COMMENT ON COLUMN model_data.model IS 'Digest of the weights.';
COMMENT ON COLUMN model_data.model_kind IS 'base, adapter, merged or gguf.';
COMMENT ON COLUMN model_data.model_name IS 'Their name.';
COMMENT ON COLUMN model_data.model_version IS 'Their version.';
COMMENT ON COLUMN model_data.dataset IS 'Digest of the data set.';
COMMENT ON COLUMN model_data.dataset_name IS 'Its name.';
COMMENT ON COLUMN model_data.dataset_version IS 'Its version.';
COMMENT ON COLUMN model_data.distance IS 'Steps between them.';

CREATE VIEW gates AS
SELECT
    seq, time, person, params->>'run' AS run, params->>'adapter' AS adapter, params->>'model' AS model,
    params->>'evaluation' AS evaluation, TRY_CAST(params->>'go' AS BOOLEAN) AS go,
    TRY_CAST(params->'reasons' AS VARCHAR[]) AS reasons
FROM events
WHERE action = 'gate.decided';
COMMENT ON VIEW gates IS 'Every verdict on whether what a run made may be used.';
COMMENT ON COLUMN gates.seq IS 'The event.';
COMMENT ON COLUMN gates.time IS 'When it was decided, UTC.';
COMMENT ON COLUMN gates.person IS 'Who had it judged.';
COMMENT ON COLUMN gates.run IS 'Digest of the run.';
COMMENT ON COLUMN gates.adapter IS 'Digest of the adapter; null if the run made a whole model.';
COMMENT ON COLUMN gates.model IS 'Digest of the whole model; null if the run made an adapter.';
COMMENT ON COLUMN gates.evaluation IS 'Digest of the evaluation it rests on.';
COMMENT ON COLUMN gates.go IS 'Whether the adapter or model may be used.';
COMMENT ON COLUMN gates.reasons IS 'Why, one text for each rule.';

CREATE VIEW gate_rules AS
SELECT
    seq, time, run, engine, suite, suites->>suite AS suite_digest, section, rule, holds, verdict
FROM (
    SELECT
        seq, time, run, suites, one->>'on' AS engine, one->>'suite' AS suite, one->>'section' AS section,
        one->>'rule' AS rule, TRY_CAST(one->>'holds' AS BOOLEAN) AS holds, one->>'verdict' AS verdict
    FROM (
        SELECT
            seq, time, params->>'run' AS run, params->'suites' AS suites,
            unnest(TRY_CAST(params->'judged' AS JSON[])) AS one
        FROM events
        WHERE action = 'gate.decided' AND json_type(params, '$.judged') = 'ARRAY'
    )
);
COMMENT ON VIEW gate_rules IS 'What gates decided on each of their rules, on each engine.';
COMMENT ON COLUMN gate_rules.seq IS 'The event of the gate.';
COMMENT ON COLUMN gate_rules.time IS 'When it was decided, UTC.';
COMMENT ON COLUMN gate_rules.run IS 'Digest of the run.';
COMMENT ON COLUMN gate_rules.engine IS 'transformers, or the quantization of the file that was judged.';
COMMENT ON COLUMN gate_rules.suite IS 'Name of the suite.';
COMMENT ON COLUMN gate_rules.suite_digest IS 'Its digest.';
COMMENT ON COLUMN gate_rules.section IS 'The section: all, primary or a name.';
COMMENT ON COLUMN gate_rules.rule IS 'minimum, improvement or non_inferiority.';
COMMENT ON COLUMN gate_rules.holds IS 'Whether the rule holds.';
COMMENT ON COLUMN gate_rules.verdict IS 'What the change is: better, same, worse within noise or regression.';

CREATE VIEW runs AS
SELECT
    seq, started, ended, seconds, person, outcome, outcome_seq, subject_digest AS recipe, result->>'run' AS run,
    result->>'adapter' AS adapter, result->>'model' AS model, TRY_CAST(result->>'steps' AS BIGINT) AS steps,
    TRY_CAST(result->>'tokens' AS BIGINT) AS tokens, TRY_CAST(result->>'final_loss' AS DOUBLE) AS final_loss,
    result->>'telemetry' AS telemetry, level, compartments, zones, asked
FROM acts
WHERE act = 'train.run';
COMMENT ON VIEW runs IS 'Every training run.';
COMMENT ON COLUMN runs.seq IS 'Sequence number of its intent.';
COMMENT ON COLUMN runs.started IS 'When it began, UTC.';
COMMENT ON COLUMN runs.ended IS 'When it ended, UTC.';
COMMENT ON COLUMN runs.seconds IS 'Between the two.';
COMMENT ON COLUMN runs.person IS 'Who started it.';
COMMENT ON COLUMN runs.outcome IS 'done, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN runs.outcome_seq IS 'Sequence number of the outcome.';
COMMENT ON COLUMN runs.recipe IS 'Digest of the recipe.';
COMMENT ON COLUMN runs.run IS 'Digest of the run''s record.';
COMMENT ON COLUMN runs.adapter IS 'Digest of the adapter that it made, if it made one.';
COMMENT ON COLUMN runs.model IS 'Digest of the whole model that it made, if it made one.';
COMMENT ON COLUMN runs.steps IS 'Optimiser steps done.';
COMMENT ON COLUMN runs.tokens IS 'Tokens trained on.';
COMMENT ON COLUMN runs.final_loss IS 'Loss at the end.';
COMMENT ON COLUMN runs.telemetry IS 'Digest of the file of loss and speed.';
COMMENT ON COLUMN runs.level IS 'Level of the joined label of all that went in.';
COMMENT ON COLUMN runs.compartments IS 'Compartments of that label.';
COMMENT ON COLUMN runs.zones IS 'Residency zones of that label.';
COMMENT ON COLUMN runs.asked IS 'Parameters of the intent: everything that determines the result.';

CREATE VIEW deeds AS
SELECT
    e.seq, e.time, e.person, e.role, e.action, t.meaning, e.subject_kind, a.name AS subject_name,
    a.version AS subject_version, e.subject_digest, e.level, e.cause
FROM events AS e
LEFT JOIN event_types AS t ON t.action = e.action
LEFT JOIN artefacts AS a ON a.digest = e.subject_digest;
COMMENT ON VIEW deeds IS 'Who did what, when, to what, in words: every event with its meaning and its subject''s name.';
COMMENT ON COLUMN deeds.seq IS 'The event.';
COMMENT ON COLUMN deeds.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN deeds.person IS 'Who did it.';
COMMENT ON COLUMN deeds.role IS 'The role acted in.';
COMMENT ON COLUMN deeds.action IS 'What happened.';
COMMENT ON COLUMN deeds.meaning IS 'What that means.';
COMMENT ON COLUMN deeds.subject_kind IS 'Kind of the thing it was done to.';
COMMENT ON COLUMN deeds.subject_name IS 'Its name, if it is an artefact on the record.';
COMMENT ON COLUMN deeds.subject_version IS 'Its version.';
COMMENT ON COLUMN deeds.subject_digest IS 'Its digest.';
COMMENT ON COLUMN deeds.level IS 'Level of its label.';
COMMENT ON COLUMN deeds.cause IS 'The event that it follows from.';
