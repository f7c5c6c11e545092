-- How many answers which weights gave to which tenant.
-- $since time = 2000-01-01: From then on.
SELECT
    tenant, model, weights, adapter, level, count(*) AS answers, count(*) FILTER (outcome = 'done') AS done,
    sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, min(started) AS first, max(started) AS last
FROM answers
WHERE started >= $since
GROUP BY ALL
ORDER BY tenant, model, answers DESC
