-- Everything that speaks of silence or of loss: missing numbers, unexplained ends, late heartbeats, clock steps, little space.
SELECT seq, time, finding, detail
FROM completeness
ORDER BY seq, finding
