-- Which answers were given by which weights, and what became of the sealed texts.

CREATE VIEW answers AS
SELECT
    seq, started, ended, seconds, person AS application, asked->>'tenant' AS tenant, asked->>'key' AS key,
    asked->>'model' AS model, coalesce(asked->>'model_digest', subject_digest) AS weights,
    asked->>'adapter_digest' AS adapter, TRY_CAST(asked->>'release' AS BIGINT) AS release, level, compartments, zones, outcome, outcome_seq, result->>'error' AS error,
    result->>'finish_reason' AS finish_reason, TRY_CAST(asked->>'prompt_tokens' AS BIGINT) AS prompt_tokens,
    TRY_CAST(result->>'completion_tokens' AS BIGINT) AS completion_tokens, asked->'commitments'->>'prompt' AS prompt,
    result->'commitments'->>'answer' AS answer, asked->>'sealed_for' AS sealed_for
FROM acts
WHERE act = 'answer';
COMMENT ON VIEW answers IS 'Every request of an application, with the weights that answered it; the texts stay sealed.';
COMMENT ON COLUMN answers.seq IS 'The request''s receipt.';
COMMENT ON COLUMN answers.started IS 'When the request was recorded, UTC.';
COMMENT ON COLUMN answers.ended IS 'When the answer was recorded, UTC.';
COMMENT ON COLUMN answers.seconds IS 'Between the two.';
COMMENT ON COLUMN answers.application IS 'Tenant and key that asked.';
COMMENT ON COLUMN answers.tenant IS 'The tenant.';
COMMENT ON COLUMN answers.key IS 'The key''s public part.';
COMMENT ON COLUMN answers.model IS 'The model as the application named it.';
COMMENT ON COLUMN answers.weights IS 'Digest of the quantized weights that answered.';
COMMENT ON COLUMN answers.adapter IS 'Digest of the adapter that answered with them; null if none did.';
COMMENT ON COLUMN answers.release IS 'The release behind the model id, if that is an alias.';
COMMENT ON COLUMN answers.level IS 'Level of the answer''s label.';
COMMENT ON COLUMN answers.compartments IS 'Compartments of the answer''s label.';
COMMENT ON COLUMN answers.zones IS 'Residency zones of the answer''s label.';
COMMENT ON COLUMN answers.outcome IS 'done, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN answers.outcome_seq IS 'The answer''s receipt.';
COMMENT ON COLUMN answers.error IS 'Why it failed.';
COMMENT ON COLUMN answers.finish_reason IS 'Why it ended.';
COMMENT ON COLUMN answers.prompt_tokens IS 'Tokens read.';
COMMENT ON COLUMN answers.completion_tokens IS 'Tokens written.';
COMMENT ON COLUMN answers.prompt IS 'Commitment to the sealed prompt.';
COMMENT ON COLUMN answers.answer IS 'Commitment to the sealed answer.';
COMMENT ON COLUMN answers.sealed_for IS 'Pseudonym of the subject for whom both were sealed.';

CREATE VIEW answer_data AS
SELECT a.seq, a.started, a.tenant, a.model, m.model AS weights, m.dataset, m.dataset_name, m.dataset_version
FROM answers AS a
JOIN model_data AS m ON m.model = a.weights OR m.model = a.adapter;
COMMENT ON VIEW answer_data IS 'Which data stands behind which answer, as far as its lineage is on the record.';
COMMENT ON COLUMN answer_data.seq IS 'The request.';
COMMENT ON COLUMN answer_data.started IS 'When it was recorded, UTC.';
COMMENT ON COLUMN answer_data.tenant IS 'Who asked.';
COMMENT ON COLUMN answer_data.model IS 'The model as the application named it.';
COMMENT ON COLUMN answer_data.weights IS 'Digest of the weights or adapter that holds the data.';
COMMENT ON COLUMN answer_data.dataset IS 'Digest of the data set.';
COMMENT ON COLUMN answer_data.dataset_name IS 'Its name.';
COMMENT ON COLUMN answer_data.dataset_version IS 'Its version.';

CREATE VIEW payload_acts AS
SELECT
    seq, time, person, role, action, phase, cause, coalesce(TRY_CAST(params->>'request' AS BIGINT), cause) AS request,
    coalesce(params->>'class', params->'request'->>'class') AS class,
    coalesce(params->>'subject', params->'request'->>'subject') AS subject,
    coalesce(params->>'reason', params->'request'->>'reason') AS reason, params
FROM events
WHERE starts_with(action, 'sealed.');
COMMENT ON VIEW payload_acts IS 'What was done about sealed prompts and answers: asked, granted, opened, erased, shredded, kept otherwise.';
COMMENT ON COLUMN payload_acts.seq IS 'The event.';
COMMENT ON COLUMN payload_acts.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN payload_acts.person IS 'Who did it.';
COMMENT ON COLUMN payload_acts.role IS 'The role acted in.';
COMMENT ON COLUMN payload_acts.action IS 'What was done.';
COMMENT ON COLUMN payload_acts.phase IS 'fact, intent or outcome.';
COMMENT ON COLUMN payload_acts.cause IS 'The event that it follows from.';
COMMENT ON COLUMN payload_acts.request IS 'The request that it belongs to.';
COMMENT ON COLUMN payload_acts.class IS 'prompt or answer, where it concerns one of them.';
COMMENT ON COLUMN payload_acts.subject IS 'Pseudonym of the subject.';
COMMENT ON COLUMN payload_acts.reason IS 'Why.';
COMMENT ON COLUMN payload_acts.params IS 'All facts of the event.';
