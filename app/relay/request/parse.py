"""Parses a request: model, target path, streaming and body. The whole body is in memory afterwards."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from app.auth.guard import changes_engine, may_use
from app.config.model_entry import LocalEntry
from app.config.presets import filters_with
from app.errors import BodyTooLargeError, InvalidBodyError, ModelRequiredError
from app.models.catalog import Catalog, ModelFilter
from app.models.ref import ModelRef
from app.relay.amendments.answer import AmendedAnswer
from app.relay.amendments.tools import tool_use
from app.relay.headers import Headers
from app.relay.request import multipart as form
from app.relay.request.body import Receive, Routing, read_body, routing
from app.relay.request.filters import Filter
from app.relay.request.json_edit import Field
from app.relay.request.json_text import readable_in_steps
from app.relay.request.media import Remote
from app.relay.request.media_fetch import address, placed
from app.relay.request.prepare import (
    IN_PLACE_BYTES,
    RemoteUrls,
    changed,
    decoding_needed,
    find_remote,
    prepare,
    too_much_to_decode,
)
from app.relay.request.scan import fields_in_steps, routing_of
from app.relay.request.scope import Scope, declared_length, header, query_model, target
from app.relay.request.slot_files import refuse_other_folders
from app.relay.request.worker import BodyWorker
from app.relay.turns import a_turn_for, in_turns


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request as it goes upstream. `target` is path and query. `headers` are the client's, names in lower case."""

    ref: ModelRef
    method: str
    target: str
    headers: Headers
    body: bytes | None
    streaming: bool
    request_id: str
    # The decoded routing fields. They keep the URLs of media that have been fetched since.
    fields: Routing = Routing()
    # Set if the body is a form
    boundary: bytes | None = None
    # Media to fetch before the request goes upstream
    remote: Remote | None = None
    # Whether the query names the model. A body is then no request for a completion.
    by_query: bool = False
    # How to change the answer for this API
    answer: AmendedAnswer | None = None
    # The client's body, if it was amended. Errors name places in it.
    own_body: bytes | None = None
    # Whether the model must call a tool. None without tools.
    must_call: bool | None = None
    # The fields of a form or of a large body, which are found in steps
    spans: list[Field] | None = None
    # Whether a stream has all of an answer in one piece, if that is known already
    as_stream: bool | None = None


@dataclass(slots=True)
class _Draft:
    """A request whose body is being prepared."""

    ref: ModelRef
    target: str
    body: bytes | None
    fields: Routing
    spans: list[Field] | None
    answer: AmendedAnswer | None = None
    own_body: bytes | None = None
    remote: Remote | None = None
    as_stream: bool | None = None


class CallReader:
    """Parses requests. `max_body` and `max_edit` (of a body that has to be decoded) are in bytes.

    `media_hosts` are the hosts that remote media may come from. Close it at the end.
    """

    def __init__(
        self, catalog: Catalog, *, max_body: int, max_edit: int | None = None, media_hosts: tuple[str, ...] = ()
    ) -> None:
        self._catalog = catalog
        self._worker = BodyWorker()
        self.configure(max_body=max_body, max_edit=max_edit, media_hosts=media_hosts)

    def configure(self, *, max_body: int, max_edit: int | None = None, media_hosts: tuple[str, ...] = ()) -> None:
        """Applies new settings from the next request on. `filters` are those of the current catalog."""
        self.max_body = max_body
        self._max_edit = max_body if max_edit is None else max_edit
        self._media_hosts = media_hosts
        self._filters: dict[tuple[str, str], Filter] = {}
        for ref in self._catalog.refs(presets=True):
            preset = ref.entry.presets.get(ref.preset)
            if (filters := filters_with(preset, ref.entry.request)) is not None:
                self._filters[ref.alias, ref.preset] = Filter(filters, preset.system if preset else None)

    async def read(self, scope: Scope, receive: Receive, request_id: str) -> Call:
        """Parses a request. Raises a RequestError, or ClientDisconnectedError."""
        body, boundary, fields, spans = None, None, Routing(), None
        by_query = scope["method"] == "GET" or changes_engine(scope["path"])
        if by_query:
            fields = Routing(model=query_model(scope["query_string"]))
        if scope["method"] != "GET":
            body = await read_body(receive, declared_length(scope["headers"]), self.max_body)
        if body is not None and not by_query:
            kind = header(scope["headers"], b"content-type")
            boundary = form.boundary_of(kind) if kind.startswith(b"multipart/") else None
            if boundary is None:
                body = await in_turns(readable_in_steps(body))
                fields, spans = await self.routing(body)
            else:
                spans = await in_turns(form.fields_in_steps(body, boundary))
                fields = form.routing(body, boundary, spans)
        elif body and fields.model is None:
            with suppress(InvalidBodyError):  # An array, for example, concerns llama-server only
                fields = Routing(model=routing(body).model)
        ref, where = self.named(fields.model, may_use(scope)), target(scope)
        if by_query and body is not None:
            refuse_other_folders(ref, where)
        draft = _Draft(ref, where, body, fields, spans)
        if body is not None and boundary is None and not by_query:
            await self._prepare(draft, request_id)
        body, fields = draft.body, draft.fields
        return Call(
            ref=self._decoding(ref, logprobs=fields.wants_logprobs),
            method=scope["method"],
            target=draft.target,
            headers=scope["headers"],
            body=body,
            streaming=bool(fields.stream),
            fields=fields,
            boundary=boundary,
            request_id=request_id,
            remote=draft.remote,
            by_query=by_query,
            answer=draft.answer,
            own_body=draft.own_body,
            spans=draft.spans,
            as_stream=draft.as_stream,
            must_call=tool_use(fields),
        )

    async def routing(self, body: bytes) -> tuple[Routing, list[Field] | None]:
        """Returns the routing of a body, and its fields if it is large. Raises InvalidBodyError."""
        if len(body) <= IN_PLACE_BYTES:
            return routing(body), None
        spans = await in_turns(fields_in_steps(body))
        return routing_of(body, spans), spans

    def remote(self, fields: Routing) -> Remote | None:
        """Returns the remote media of a body. Raises RemoteMediaRefusedError if a host is not listed."""
        remote = find_remote(fields)
        if remote is not None:
            self._check_hosts(remote)
        return remote

    def refuse_edit(self, body: bytes) -> None:
        """Raises BodyTooLargeError if a body that has to be decoded is too large for that."""
        if len(body) > self._max_edit:
            raise BodyTooLargeError(
                f"The body has to be edited, and is larger than {self._max_edit / 2**20:g} MiB; "
                "max_edit_mb in tandem.yaml sets the limit."
            )

    def close(self) -> None:
        """Ends the process that edits large bodies."""
        self._worker.close()

    def _check_hosts(self, remote: Remote) -> None:
        for url in remote.urls:
            with placed(remote, url):
                address(url, self._media_hosts)

    async def _prepare(self, draft: _Draft, request_id: str) -> None:
        """Applies the filters of the entry or the preset, and amendments, and finds remote media."""
        body, ref = draft.body, draft.ref
        assert body is not None
        filters, ours = self._filters.get((ref.alias, ref.preset)), isinstance(ref.entry, LocalEntry)
        if not await in_turns(too_much_to_decode(body)):
            await a_turn_for(body)
            filtered, amendment, draft.fields = changed(
                draft.target, body, draft.fields, filters, request_id, ours=ours
            )
            draft.body = filtered
            if amendment is not None:
                draft.own_body, (draft.body, draft.target, draft.answer) = filtered, amendment
            await a_turn_for(body)
            draft.remote = self.remote(draft.fields)
            if draft.body is not body or draft.remote is not None:
                self.refuse_edit(body)
            await a_turn_for(body)
            return
        whole = ours and not draft.fields.stream and len(body) <= self._max_edit
        unfiltered = draft.spans if filters is None else None
        if unfiltered is not None and not await in_turns(decoding_needed(body, unfiltered, draft.target, whole=whole)):
            draft.as_stream = False
            return
        self.refuse_edit(body)
        draft.body, changes = await self._worker.run(prepare, body, draft.target, filters, request_id, ours, whole)
        draft.own_body = body if draft.body != body else None
        draft.target, draft.answer, draft.as_stream = changes.target, changes.answer, changes.as_stream
        draft.remote = RemoteUrls(changes.urls) if changes.urls else None
        if draft.remote is not None:
            self._check_hosts(draft.remote)
        draft.fields, draft.spans = await self.routing(draft.body)

    def named(self, model: str | None, may: ModelFilter = None) -> ModelRef:
        """Returns the model's ref. Raises UnknownAliasError or ModelRequiredError."""
        if model is not None:
            return self._catalog.resolve(model, may)
        refs = self._catalog.refs(may, presets=True)
        # A key that may use only a preset means that preset
        shown = [ref for ref in refs if not ref.preset] or refs
        if len(shown) == 1:
            return shown[0]
        names = ", ".join(f"'{name}'" for name in shown) or "none"
        raise ModelRequiredError(f"Missing 'model'. Available models: {names}.")

    def _decoding(self, ref: ModelRef, *, logprobs: bool) -> ModelRef:
        """Returns the model, or its plain variant if log probabilities need it."""
        if logprobs and isinstance(ref.entry, LocalEntry) and ref.entry.speculation.on_logprobs == "plain":
            return self._catalog.plain(ref)
        return ref
