-- Which data stands behind one answer.
-- $seq integer: The number of its request's receipt.
SELECT seq, started, tenant, model, weights, dataset_name, dataset_version, dataset
FROM answer_data
WHERE seq = $seq
ORDER BY dataset_name, dataset
