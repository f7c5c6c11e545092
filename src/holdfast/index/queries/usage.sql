-- What applications used: requests, tokens, time, and the energy and cost estimated from it.
-- $by text = day tenant model: What it is summed up by: some of day, tenant, key and model, with spaces between them.
-- $since time = 2000-01-01: From then on.
-- $until time = 2200-01-01: Until then.
-- $tenant text = : Of this tenant alone.
-- $watts number = 15: Watts that one core draws, for the estimate.
-- $price number = 0: What a kilowatt-hour costs.
WITH counted AS (
    SELECT
        CASE WHEN list_contains(string_split($by, ' '), 'day') THEN day END AS day,
        CASE WHEN list_contains(string_split($by, ' '), 'tenant') THEN tenant END AS tenant,
        CASE WHEN list_contains(string_split($by, ' '), 'key') THEN key END AS key,
        CASE WHEN list_contains(string_split($by, ' '), 'model') THEN model END AS model,
        outcome, prompt_tokens, completion_tokens, cached_tokens, milliseconds, processor_ms
    FROM usage
    WHERE time >= $since AND time < $until AND ($tenant = '' OR tenant = $tenant)
)
SELECT
    day, tenant, key, model, count(*) AS requests, count(*) FILTER (outcome = 'done') AS answered,
    CAST(least(sum(prompt_tokens), 9007199254740991) AS BIGINT) AS prompt_tokens,
    CAST(least(sum(completion_tokens), 9007199254740991) AS BIGINT) AS completion_tokens,
    CAST(least(sum(cached_tokens), 9007199254740991) AS BIGINT) AS cached_tokens, sum(milliseconds) AS milliseconds, sum(processor_ms) AS processor_ms,
    sum(processor_ms) / 1000 * $watts AS joules_estimated, sum(processor_ms) / 1000 * $watts / 3.6e6 * $price AS cost_estimated
FROM counted
GROUP BY ALL
ORDER BY ALL
