-- The answers that one tenant was given, the newest first.
-- $tenant text: Whose.
-- $since time = 2000-01-01: From then on.
-- $until time = 9999-01-01: Before then.
SELECT seq, started, seconds, key, model, weights, adapter, level, compartments, outcome, finish_reason, prompt_tokens, completion_tokens
FROM answers
WHERE tenant = $tenant AND started >= $since AND started < $until
ORDER BY seq DESC
