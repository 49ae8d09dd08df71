"""Parses a request: model, target path, streaming and body. The whole body is in memory afterwards."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from app.auth.guard import changes_engine, may_use
from app.config.model_entry import LocalEntry
from app.config.presets import filters_with
from app.errors import InvalidBodyError, ModelRequiredError
from app.models.catalog import Catalog, ModelFilter
from app.models.ref import ModelRef
from app.relay.amendments.amend import amended
from app.relay.amendments.answer import AmendedAnswer
from app.relay.amendments.tools import tool_use
from app.relay.headers import Headers
from app.relay.request import multipart as form
from app.relay.request.body import Receive, Routing, read_body, routing
from app.relay.request.filters import Filter
from app.relay.request.json_text import readable
from app.relay.request.media import Remote, find
from app.relay.request.media_fetch import address
from app.relay.request.scope import Scope, declared_length, header, query_model, target
from app.relay.request.slot_files import refuse_other_folders


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


class CallReader:
    """Parses requests. `max_body` is in bytes. `media_hosts` are the hosts that remote media may come from."""

    def __init__(self, catalog: Catalog, *, max_body: int, media_hosts: tuple[str, ...] = ()) -> None:
        self._catalog = catalog
        self.configure(max_body=max_body, media_hosts=media_hosts)

    def configure(self, *, max_body: int, media_hosts: tuple[str, ...] = ()) -> None:
        """Applies new settings from the next request on. `filters` are those of the current catalog."""
        self.max_body = max_body
        self._media_hosts = media_hosts
        self._filters: dict[tuple[str, str], Filter] = {}
        for ref in self._catalog.refs(presets=True):
            preset = ref.entry.presets.get(ref.preset)
            if (filters := filters_with(preset, ref.entry.request)) is not None:
                self._filters[ref.alias, ref.preset] = Filter(filters, preset.system if preset else None)

    async def read(self, scope: Scope, receive: Receive, request_id: str) -> Call:
        """Parses a request. Raises a RequestError, or ClientDisconnectedError."""
        body, boundary, fields = None, None, Routing()
        by_query = scope["method"] == "GET" or changes_engine(scope["path"])
        if by_query:
            fields = Routing(model=query_model(scope["query_string"]))
        if scope["method"] != "GET":
            body = await read_body(receive, declared_length(scope["headers"]), self.max_body)
        if body is not None and not by_query:
            kind = header(scope["headers"], b"content-type")
            boundary = form.boundary_of(kind) if kind.startswith(b"multipart/") else None
            if boundary is None:
                body = readable(body)
            fields = routing(body) if boundary is None else form.routing(body, boundary)
        elif body and fields.model is None:
            with suppress(InvalidBodyError):  # An array, for example, concerns llama-server only
                fields = Routing(model=routing(body).model)
        ref, where = self.named(fields.model, may_use(scope)), target(scope)
        if by_query and body is not None:
            refuse_other_folders(ref, where)
        answer, own_body = None, None
        if body is not None and boundary is None and not by_query:
            if self._filters:
                body, fields = self._filtered(ref, where, body, fields)
            ours = isinstance(ref.entry, LocalEntry)
            if (amendment := amended(where, body, fields, request_id, ours=ours)) is not None:
                own_body, (body, where, answer) = body, amendment
                fields = routing(body)
        remote = self.remote(fields)
        return Call(
            ref=self._decoding(ref, logprobs=fields.wants_logprobs),
            method=scope["method"],
            target=where,
            headers=scope["headers"],
            body=body,
            streaming=bool(fields.stream),
            fields=fields,
            boundary=boundary,
            request_id=request_id,
            remote=remote,
            by_query=by_query,
            answer=answer,
            own_body=own_body,
            must_call=tool_use(fields),
        )

    def remote(self, fields: Routing) -> Remote | None:
        """Returns the remote media of a body. Raises RemoteMediaRefusedError if a host is not listed."""
        remote = find(fields.messages, input=fields.input, query=fields.query, documents=fields.documents)
        if remote is not None:
            for url in remote.urls:
                address(url, self._media_hosts)
        return remote

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

    def _filtered(self, ref: ModelRef, target: str, body: bytes, fields: Routing) -> tuple[bytes, Routing]:
        """Applies the filters of the entry or the preset, for each of its variants."""
        filters = self._filters.get((ref.alias, ref.preset))
        return (body, fields) if filters is None else filters.apply(target.partition("?")[0], body, fields)

    def _decoding(self, ref: ModelRef, *, logprobs: bool) -> ModelRef:
        """Returns the model, or its plain variant if log probabilities need it."""
        if logprobs and isinstance(ref.entry, LocalEntry) and ref.entry.speculation.on_logprobs == "plain":
            return self._catalog.plain(ref)
        return ref
