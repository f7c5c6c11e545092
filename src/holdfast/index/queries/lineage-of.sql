-- Everything that an artefact was made from, nearest first.
-- $digest text: Its digest.
SELECT distance, ancestor_kind, ancestor_name, ancestor_version, ancestor
FROM lineage
WHERE digest = $digest
ORDER BY distance, ancestor_kind, ancestor_name
