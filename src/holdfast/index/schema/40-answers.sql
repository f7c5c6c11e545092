-- Which answers were given by which weights, and what became of the sealed texts.

CREATE VIEW answers AS
SELECT
    seq, started, ended, seconds, person AS application, asked->>'tenant' AS tenant, asked->>'key' AS key,
    asked->>'kind' AS kind, asked->>'model' AS model, coalesce(asked->>'model_digest', subject_digest) AS weights,
    asked->>'adapter_digest' AS adapter, TRY_CAST(asked->>'release' AS BIGINT) AS release, level, compartments, zones, outcome, outcome_seq, result->>'error' AS error,
    result->>'finish_reason' AS finish_reason, TRY_CAST(asked->>'prompt_tokens' AS BIGINT) AS prompt_tokens,
    TRY_CAST(result->>'completion_tokens' AS BIGINT) AS completion_tokens,
    TRY_CAST(result->>'cached_tokens' AS BIGINT) AS cached_tokens, TRY_CAST(result->>'milliseconds' AS DOUBLE) AS milliseconds,
    TRY_CAST(result->>'first_ms' AS DOUBLE) AS first_ms, TRY_CAST(result->>'processor_ms' AS DOUBLE) AS processor_ms, asked->'commitments'->>'prompt' AS prompt,
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
COMMENT ON COLUMN answers.kind IS 'chat, completion, embedding, tokenize or detokenize.';
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
COMMENT ON COLUMN answers.cached_tokens IS 'Tokens of the prompt that needed no computing.';
COMMENT ON COLUMN answers.milliseconds IS 'From the request to the end of its answer.';
COMMENT ON COLUMN answers.first_ms IS 'Milliseconds until the first token; null if there was none.';
COMMENT ON COLUMN answers.processor_ms IS 'Milliseconds of processor time over all cores.';
COMMENT ON COLUMN answers.prompt IS 'Commitment to the sealed prompt.';
COMMENT ON COLUMN answers.answer IS 'Commitment to the sealed answer.';
COMMENT ON COLUMN answers.sealed_for IS 'Pseudonym of the subject for whom both were sealed.';

CREATE VIEW usage AS
SELECT
    seq, started AS time, CAST(started AS DATE) AS day, tenant, key, model, weights, adapter, coalesce(kind, 'unknown') AS kind, outcome,
    coalesce(prompt_tokens, 0) AS prompt_tokens, coalesce(completion_tokens, 0) AS completion_tokens,
    coalesce(cached_tokens, 0) AS cached_tokens, coalesce(milliseconds, 0) AS milliseconds, coalesce(processor_ms, 0) AS processor_ms
FROM answers;
COMMENT ON VIEW usage IS 'What each request of an application took; what is not known counts as nothing, so that sums hold.';
COMMENT ON COLUMN usage.seq IS 'The request''s receipt.';
COMMENT ON COLUMN usage.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN usage.day IS 'The day of that, UTC.';
COMMENT ON COLUMN usage.tenant IS 'Whose key asked.';
COMMENT ON COLUMN usage.key IS 'The key''s public part.';
COMMENT ON COLUMN usage.model IS 'The model as the application named it.';
COMMENT ON COLUMN usage.weights IS 'Digest of the quantized weights that answered.';
COMMENT ON COLUMN usage.adapter IS 'Digest of the adapter that answered with them; null if none did.';
COMMENT ON COLUMN usage.kind IS 'chat, completion, embedding, tokenize or detokenize.';
COMMENT ON COLUMN usage.outcome IS 'done, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN usage.prompt_tokens IS 'Tokens read.';
COMMENT ON COLUMN usage.completion_tokens IS 'Tokens written.';
COMMENT ON COLUMN usage.cached_tokens IS 'Tokens read that needed no computing.';
COMMENT ON COLUMN usage.milliseconds IS 'From the request to the end of its answer.';
COMMENT ON COLUMN usage.processor_ms IS 'Milliseconds of processor time over all cores; times the watts of a core it is an estimate of the energy.';

CREATE VIEW service_keys AS
SELECT
    c.params->>'key' AS key, c.params->>'tenant' AS tenant, TRY_CAST(c.params->'record'->'models' AS VARCHAR[]) AS models,
    c.params->'record'->'clearance'->>'level' AS level, TRY_CAST(c.params->'record'->'scopes' AS VARCHAR[]) AS scopes,
    TRY_CAST(c.params->'record'->'quota'->>'requests_per_minute' AS BIGINT) AS requests_per_minute,
    TRY_CAST(c.params->'record'->'quota'->>'tokens_per_day' AS BIGINT) AS tokens_per_day,
    TRY_CAST(c.params->'record'->'quota'->>'parallel' AS BIGINT) AS parallel,
    c.time AS created, c.person AS created_by, c.seq, r.time AS revoked, r.person AS revoked_by
FROM events AS c
LEFT JOIN (
    SELECT params->>'key' AS key, min(time) AS time, arg_min(person, seq) AS person
    FROM events WHERE action = 'serve.key.revoked' GROUP BY ALL
) AS r ON r.key = c.params->>'key'
WHERE c.action = 'serve.key.created';
COMMENT ON VIEW service_keys IS 'The keys of applications and what each may do; by what a key is known again is not on the record.';
COMMENT ON COLUMN service_keys.key IS 'The key''s public part.';
COMMENT ON COLUMN service_keys.tenant IS 'Whose it is.';
COMMENT ON COLUMN service_keys.models IS 'Model ids that it opens; a base with :* behind it for every adapter, * for everything.';
COMMENT ON COLUMN service_keys.level IS 'The highest level that it may see.';
COMMENT ON COLUMN service_keys.scopes IS 'What it is for: inference, metrics.';
COMMENT ON COLUMN service_keys.requests_per_minute IS 'Requests that may begin within any minute; null for any number.';
COMMENT ON COLUMN service_keys.tokens_per_day IS 'Tokens of a day, UTC; null for any number.';
COMMENT ON COLUMN service_keys.parallel IS 'Requests under way at once; null for any number.';
COMMENT ON COLUMN service_keys.created IS 'When it was created, UTC.';
COMMENT ON COLUMN service_keys.created_by IS 'Who created it.';
COMMENT ON COLUMN service_keys.seq IS 'The event that says so.';
COMMENT ON COLUMN service_keys.revoked IS 'When it was revoked, UTC; null if it was not.';
COMMENT ON COLUMN service_keys.revoked_by IS 'Who revoked it.';

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
