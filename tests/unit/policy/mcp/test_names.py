"""What the name of a tool says, however it is spelled."""

import pytest

from luminaguard.domain.verdict import Lane
from luminaguard.errors import PolicyError
from luminaguard.policy.mcp.lexicon import lexicon
from luminaguard.policy.mcp.names import Reading, check_examples, judge_name
from mcptools import DATA, LYING, judged

SPELLINGS = (
    "get_and_delete_file",
    "getAndDeleteFile",
    "GetAndDeleteFile",
    "get-and-delete-file",
    "get.and.delete.file",
    "get/and/delete/file",
    "get and delete file",
    "GETANDDELETEFILE",
    "getanddeletefile",
    "gEt_AnD_dElEtE_fIlE",
    "files.get_and_delete",
    "gets_and_deletes_files",
    "getting_and_deleting",
    "get_or_delete",
    "get_then_delete",
    "get_delete_file",
)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_verb_that_writes_is_seen_in_any_place_and_spelling(name: str) -> None:
    verdict = judged(name, description="Gets a file.", annotations=LYING)
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("mcp-deletes",))
    assert any("delet" in reason for reason in verdict.reasons)


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "name",
    [
        "update_user_info",
        "mark_all_notifications_read",
        "set_all_read",
        "get_or_create_label",
        "read_and_star",
        "search_and_replace",
        "fetch_then_post",
        "check_in",
        "log_out",
        "turn_on",
        "pdf_save",
        "export",
        "connect",
        "browser_network_state_set",
        "deleteuserprofile",
        "bulkdelete",
        "batch_delete_items",
        "list_and_frobnicate",
        "frobnicate",
        "get_token",
        "list_access_tokens",
        "get-env",
        "getEnvVars",
        "storage_state",
        "cookie_list",
        "read_secret",
        "get_api_key",
        "fetch_html",
        "fetch_url",
        "get_url",
        "read_webpage",
        "http_get",
        "crawl",
        "pull",
        "play",
        "convert_to_capped",
        "convert_collection",
        "bulkdelete_list",
        "get_card_pin",
        "get_cvv",
    ],
)
def test_what_is_no_read_by_its_name_is_asked_about(name: str) -> None:
    assert judged(name, description="Returns it.", annotations=LYING).lane is Lane.RED


@pytest.mark.parametrize(
    "name",
    [
        "list_commits",
        "get_latest_release",
        "pull_request_read",
        "list_pull_requests",
        "getUserProfile",
        "get_scheduled_transactions",
        "get_draft_emails",
        "actions_list",
        "API-post-search",
        "listIssues",
        "search_orders",
        "get_cost_and_usage",
        "run_search",
        "get_token_price",
        "count_tokens",
        "get_remote_url",
        "list_updates",
        "list_datasets",
        "get_offset",
        "find_settings",
        "browser_find",
        "convert_time",
        "get_pin",
    ],
)
def test_nouns_that_could_be_verbs_do_not_make_a_read_red(name: str) -> None:
    verdict = judged(name, description="Returns it.", annotations=LYING)
    assert verdict.lane is Lane.GREEN, verdict.reasons


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "name",
    [
        "g\u0435t_file",
        "get_file\u200b",
        "\u202eget_file",
        "get_\ufb01le",
        "",
        "-get",
        "get_file;rm",
        "get_" + "x" * 200,
        "get\nfile",
        "g\u00ebt",
    ],
)
def test_a_name_that_is_not_plain_is_not_understood(name: str) -> None:
    verdict = judged(name, description="Returns a file.", annotations=LYING)
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("mcp-not-understood",))


def test_a_name_of_information_needs_a_description_that_begins_as_a_reads_does() -> None:
    for name in ("directory_tree", "vim_status", "npmVersions", "supported_languages"):
        for hints in (LYING, {}):
            of = judged(name, description="Returns figures.", annotations=hints)
            assert of.lane is Lane.GREEN, name
            assert judged(name, description="Figures.", annotations=hints).lane is Lane.RED
            assert judged(name, annotations=hints).lane is Lane.RED


def test_a_name_without_a_verb_that_is_not_of_information_needs_the_servers_hint() -> None:
    assert judge_name("tree_view_x").reading is not Reading.WEAK
    for name in ("pubmed_connections", "matrix_of_them", "stats_panel"):
        text = "Returns figures."
        assert judged(name, description=text, annotations=LYING).lane is Lane.GREEN, name
        assert judged(name, description=text).lane is Lane.RED, name


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "name",
    [
        "frobnicate_status",
        "frobnify_status",
        "deletion_and_frob_status",
        "delete_status",
        "set_status",
        "toggleStatus",
        "statusUpdate",
        "update_history",
        "frObnicate",
        "send_reports",
        "bulkdelete_list",
        "group_messages_delete",
    ],
)
def test_information_at_the_end_of_a_name_proves_nothing_beside_what_could_be_a_verb(
    name: str,
) -> None:
    assert judged(name, description="Returns the status.").lane is Lane.RED


def test_many_of_something_at_the_end_of_a_name_are_things() -> None:
    text = "Hot threads of a subreddit."
    assert judged("reddit_hot_threads", description=text, annotations=LYING).lane is Lane.GREEN
    assert judged("reddit_hot_threads", description=text).lane is Lane.RED
    for name in ("post_threads", "thread", "hot_follows"):
        assert judged(name, description=text, annotations=LYING).lane is Lane.RED, name


def test_without_hints_both_name_and_description_must_show_a_read() -> None:
    assert judged("get_balance", description="Get the balance.").lane is Lane.GREEN
    assert judged("get_balance", description="The balance.").lane is Lane.RED
    assert judged("get_balance").lane is Lane.RED


@pytest.mark.guarantee("G5")
def test_no_name_of_a_tool_that_writes_reads_like_a_read() -> None:
    names = (DATA / "writing_names.txt").read_text().split()
    assert [name for name in names if judge_name(name).reading is not Reading.NONE] == []
    assert len(names) > 300


def test_nearly_every_name_of_a_tool_that_reads_is_seen_to() -> None:
    names = (DATA / "reading_names.txt").read_text().split()
    missed = [name for name in names if judge_name(name).reading is Reading.NONE]
    assert len(missed) / len(names) <= 0.05, missed


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    ("kind", "name"), [("reads", "delete_file"), ("writes", "get_file"), ("things", "get_file")]
)
def test_words_that_misread_an_example_judge_nothing(kind: str, name: str) -> None:
    check_examples(lexicon().examples)
    with pytest.raises(PolicyError, match=name):
        check_examples({**lexicon().examples, kind: (name,)})
