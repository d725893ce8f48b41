"""A job's rules become one function: PostgreSQL reads each CHECK of a table anew at each statement that writes to it."""

from django.db import migrations, models
from django.db.models.functions.comparison import Least

FUNCTION = """
CREATE FUNCTION invocation_job_is_sound(
    state text, owner uuid, finished_at timestamptz, cause text, questions jsonb, is_behind boolean, ordering_key text,
    context_key text, context_version bigint, relevance text, least_held numeric, least_count bigint
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    broken text;
BEGIN
    IF (CASE
            WHEN state IN ('working', 'cancelling') THEN owner IS NOT NULL AND finished_at IS NULL
            WHEN state IN ('completed', 'failed', 'cancelled') THEN owner IS NULL AND finished_at IS NOT NULL
            WHEN state IN ('queued', 'dispatched', 'input_required', 'waiting') THEN owner IS NULL AND finished_at IS NULL
            ELSE FALSE
        END)
        AND (cause = '' OR state = 'failed')
        AND (questions IS NOT NULL OR state <> 'input_required')
        AND (NOT is_behind OR ordering_key IS NOT NULL)
        AND (context_key IS NULL) = (context_version IS NULL) AND (context_key IS NULL) = (relevance = '')
        AND least_held >= 0
        AND least_count >= 0
    THEN
        RETURN TRUE;
    END IF;
    broken := CASE
        WHEN state NOT IN ('queued', 'dispatched', 'working', 'cancelling', 'input_required', 'waiting', 'completed', 'failed', 'cancelled')
            THEN 'job_state_is_known'
        WHEN (owner IS NOT NULL) <> (state IN ('working', 'cancelling')) THEN 'job_is_owned_only_while_working'
        WHEN (finished_at IS NOT NULL) <> (state IN ('completed', 'failed', 'cancelled')) THEN 'job_is_finished_only_when_terminal'
        WHEN cause <> '' AND state <> 'failed' THEN 'job_has_a_cause_only_when_failed'
        WHEN questions IS NULL AND state = 'input_required' THEN 'job_asks_a_question_when_input_is_required'
        WHEN is_behind AND ordering_key IS NULL THEN 'job_is_behind_only_in_a_lane'
        WHEN (context_key IS NULL) <> (context_version IS NULL) OR (context_key IS NULL) <> (relevance = '')
            THEN 'job_names_a_context_with_version_and_policy_or_none'
        WHEN least_held < 0 THEN 'job_holds_no_less_than_nothing'
        ELSE 'job_counts_are_not_negative'
    END;
    RAISE check_violation USING
        MESSAGE = format('new row for relation "invocation_job" violates check constraint "%s"', broken),
        CONSTRAINT = broken, TABLE = 'invocation_job';
END
$$
"""
COUNTS = ("attempt", "event_seq", "rank", "depth", "descendants", "context_version", "latency_budget_ms", "tries", "failures", "losses")
NAMED = (
    "job_state_is_known",
    "job_is_owned_only_while_working",
    "job_is_finished_only_when_terminal",
    "job_has_a_cause_only_when_failed",
    "job_asks_a_question_when_input_is_required",
    "job_names_a_context_with_version_and_policy_or_none",
    "job_is_behind_only_in_a_lane",
    "job_holds_no_less_than_nothing",
)


class Migration(migrations.Migration):
    dependencies = [("invocation", "0015_turns_speak_and_continue")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION invocation_job_is_sound"),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    *map(
                        models.F,
                        (
                            "state",
                            "owner",
                            "finished_at",
                            "cause",
                            "questions",
                            "is_behind",
                            "ordering_key",
                            "context_key",
                            "context_version",
                            "relevance",
                        ),
                    ),
                    Least(*map(models.F, ("held_usd", "held_tokens", "held_calls")), output_field=models.DecimalField()),
                    Least(*map(models.F, COUNTS), output_field=models.BigIntegerField()),
                    function="invocation_job_is_sound",
                    output_field=models.BooleanField(),
                ),
                name="job_is_sound",
            ),
        ),
        *[migrations.RemoveConstraint(model_name="job", name=name) for name in NAMED],
        # Those that Django makes for each positive integer.
        migrations.RunSQL(
            [f"ALTER TABLE invocation_job DROP CONSTRAINT IF EXISTS invocation_job_{column}_check" for column in COUNTS],
            [f"ALTER TABLE invocation_job ADD CONSTRAINT invocation_job_{column}_check CHECK ({column} >= 0)" for column in COUNTS],
        ),
    ]
