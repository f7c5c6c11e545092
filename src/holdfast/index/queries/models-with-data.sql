-- Which weights hold a data set, directly or not.
-- $dataset text: Its name, or its digest.
SELECT dataset_name, dataset_version, model_kind, model_name, model_version, distance, model
FROM model_data
WHERE dataset_name = $dataset OR dataset = $dataset
ORDER BY distance, model_kind, model_name
