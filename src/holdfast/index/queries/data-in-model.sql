-- Which data is in a model: every data set in the lineage of the weights of that name or digest.
-- $model text: Its name, or its digest.
SELECT model_kind, model_name, model_version, dataset_name, dataset_version, distance, model, dataset
FROM model_data
WHERE model_name = $model OR model = $model
ORDER BY model_kind, model_name, distance, dataset_name
