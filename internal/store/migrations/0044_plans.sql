-- +goose Up

-- What is asked for every token for a call is planned once for each connection. The planner itself would plan it anew every time, because it takes a
-- plan for as many questions as there are for a little better: that takes ten times as long as to answer them. Everything is looked up by keys: a
-- plan that was made while a table was small must not read all of it later.
ALTER FUNCTION rtc_facts(text[], text[], text[], text[], text[], bigint, bigint) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION rtc_facts(text[], text[], text[], text[], text[], bigint, bigint) SET enable_seqscan = off;
ALTER FUNCTION rtc_take(text[], text[], text[], text[], text[], bigint, bigint) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION rtc_take(text[], text[], text[], text[], text[], bigint, bigint) SET enable_seqscan = off;
