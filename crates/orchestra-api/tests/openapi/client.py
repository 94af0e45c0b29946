"""What an agent does in its life, through a client that was generated from the document."""

import sys
from http import HTTPStatus

from orchestra_client import Client, models
from orchestra_client.api.cache import cache_invalidate, cache_lookup, cache_store
from orchestra_client.api.consolidation import consolidate
from orchestra_client.api.memories import (
    memories_add,
    memories_delete,
    memories_forget,
    memories_get,
    memories_history,
    memories_list,
    memories_search,
    memories_update,
)
from orchestra_client.api.operations import healthz, identity, readyz, stats
from orchestra_client.api.sessions import messages_add, messages_delete, messages_list

client = Client(base_url=sys.argv[1])
ann = models.Scope(user="ann")


def call(operation, *path, status=200, **arguments):
    """The answer, of its type, and the headers."""
    response = operation.sync_detailed(*path, client=client, **arguments)
    assert response.status_code == HTTPStatus(status), (response.status_code, response.content)
    assert response.headers["x-request-id"]
    assert isinstance(response.parsed, models.Problem) == (status >= 400), response.content
    return response.parsed, response.headers


def refused(code, operation, *path, status, **arguments):
    problem, _ = call(operation, *path, status=status, **arguments)
    assert (problem.code, problem.status) == (code, status), problem
    return problem


assert call(healthz)[0].status == "ok"
assert call(readyz)[0].medium_term.status == "ready"
assert call(identity)[0].scopes == ["read", "write", "admin", "move"]

# Remember; once for each idempotency key.
seat = models.NewMemory(text="Ann prefers the window seat", scope=ann, kind=models.MemoryKind.SEMANTIC)
written, headers = call(memories_add, status=201, body=seat, idempotency_key="seat")
assert isinstance(written, models.Written) and written.status == "created" and not written.replayed, written
assert headers["location"] == f"/v1/memories/{written.id}"
again, _ = call(memories_add, status=201, body=seat, idempotency_key="seat")
assert (again.id, again.replayed) == (written.id, True)
other = models.NewMemory(text="Ann prefers the aisle seat", scope=ann)
refused("idempotency_conflict", memories_add, status=409, body=other, idempotency_key="seat")

# A batch with one bad item is refused whole, and the item is named.
trip = [models.NewMemory(text=f"Ann's note {number} on Lisbon", scope=ann) for number in range(5)]
bad = models.NewMemories(memories=[*trip, models.NewMemory(text=" ", scope=ann)])
assert refused("invalid", memories_add, status=400, body=bad).field == "memories[5].text"
page, _ = call(memories_list, user="ann")
assert [memory.text for memory in page.memories] == [seat.text]
many, _ = call(memories_add, status=201, body=models.NewMemories(memories=trip))
assert isinstance(many, models.WrittenMany) and [item.status for item in many.items] == ["created"] * 5

# Recall; get; correct, but only the version that was seen.
question = models.SearchRequest(query="Where does Ann like to sit?", scope=ann, limit=3, at_least=many.token, explain=True)
found, _ = call(memories_search, body=question)
assert found.results[0].id == written.id and found.results[0].why.similarity > 0 and not found.degraded
memory, headers = call(memories_get, written.id, user="ann")
assert (memory.text, memory.version, memory.tier, headers["etag"]) == (seat.text, 1, "long_term", '"1"')
patch = models.MemoryPatch(text="Ann prefers the aisle seat")
updated, headers = call(memories_update, written.id, body=patch, if_match=headers["etag"])
assert (updated.text, updated.version, headers["etag"]) == (patch.text, 2, '"2"')
stale = refused("version_conflict", memories_update, written.id, status=412, body=models.MemoryPatch(importance=0.9), if_match='"1"')
assert (stale.field, stale.given, stale.allowed) == ("If-Match", "1", "2")
versions, _ = call(memories_history, written.id)
assert [version.text for version in versions.versions] == [seat.text, patch.text]

# A list to its end, by its cursors and by no other.
seen, cursor = [], None
while True:
    arguments = {"cursor": cursor} if cursor else {}
    page, _ = call(memories_list, user="ann", limit=2, order=models.Order.NEWEST, **arguments)
    assert 1 <= len(page.memories) <= 2
    seen += [memory.id for memory in page.memories]
    if page.next_ is None:
        break
    cursor = page.next_
assert len(seen) == len(set(seen)) == 6
forged = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
refused("invalid_cursor", memories_list, status=400, user="ann", limit=2, order=models.Order.NEWEST, cursor=forged)
refused("invalid_cursor", memories_list, status=400, user="ann", limit=2, order=models.Order.OLDEST, cursor=cursor)

# A conversation.
turns = [models.NewMessage(text="Which seat did I book?", actor="ann"), models.NewMessage(text="14A.", actor="assistant")]
call(messages_add, "monday/1", status=201, body=models.NewMessages(messages=turns, scope=ann))
listed, _ = call(messages_list, "monday/1", user="ann")
assert [(turn.actor, turn.text) for turn in listed.messages] == [("ann", turns[0].text), ("assistant", "14A.")]
gone, _ = call(messages_delete, "monday/1", user="ann")
assert (len(gone.forgotten), gone.sessions) == (2, 1)

# The cache: a hit, a near miss, and nothing that a correction made untrue.
entry = models.NewCacheEntry(prompt="Which seat does Ann take?", response="The aisle.", scope=ann, model="m1", depends_on=[written.id])
assert call(cache_store, status=201, body=entry)[0].id
ask = models.CacheLookup(prompt="which seat does ann take", scope=ann, model="m1")
hit, _ = call(cache_lookup, body=ask)
assert isinstance(hit, models.CacheHit) and hit.response == "The aisle." and hit.depends_on == [written.id], hit
miss, _ = call(cache_lookup, body=models.CacheLookup(prompt="Which seat does Ann not take?", scope=ann, model="m1"))
assert isinstance(miss, models.CacheMiss) and miss.near_miss.prompt == entry.prompt, miss
assert miss.near_miss.refused.to_dict()["guard"][0]["check"] == "negation", miss
call(memories_update, written.id, body=models.MemoryPatch(text="Ann prefers to stand"))
assert isinstance(call(cache_lookup, body=ask)[0], models.CacheMiss)
assert call(cache_invalidate, body=models.InvalidateRequest(scope=ann, all_=True))[0].removed == 0

# Forget one, then all.
plan, _ = call(consolidate, body=models.ConsolidateRequest(scope=ann, dry_run=True))
assert plan.dry_run and plan.next_ is None
receipt, _ = call(memories_delete, written.id, user="ann")
assert (receipt.forgotten, receipt.former_versions) == ([written.id], 2)
refused("not_found", memories_get, written.id, status=404)
refused("forgotten", memories_add, status=410, body=models.NewMemory(text="back", scope=ann, id=written.id))
assert len(call(memories_forget, body=models.ForgetRequest(scope=ann, all_=True))[0].forgotten) == 5
assert call(stats, user="ann")[0].store.memories == 0

print("passed")
