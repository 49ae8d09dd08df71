"""A request, read: what is asked of whom. Its body is in memory then, and nothing was promised yet."""

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
    """One request as it goes upstream; `target` is path and query, `headers` are the client's, names in lower case."""

    ref: ModelRef
    method: str
    target: str
    headers: Headers
    body: bytes | None
    streaming: bool
    request_id: str
    # What was read of the body; of media that were fetched since, it has the addresses still
    fields: Routing = Routing()
    # Of a body that is a form
    boundary: bytes | None = None
    # Media in it that are to be fetched first
    remote: Remote | None = None
    # Whether the query names the model: the body, if there is one, is no request for a completion
    by_query: bool = False
    # What the answer is to be turned into
    answer: AmendedAnswer | None = None
    # Whether one of its tools has to be called; None without tools
    must_call: bool | None = None


class Calls:
    """Reads requests; `max_body` is in bytes, `media_hosts` are those that remote media may come from."""

    def __init__(self, catalog: Catalog, *, max_body: int, media_hosts: tuple[str, ...] = ()) -> None:
        self._catalog = catalog
        self.configure(max_body=max_body, media_hosts=media_hosts)

    def configure(self, *, max_body: int, media_hosts: tuple[str, ...] = ()) -> None:
        """From the next request on; the filters are those of the catalog as it is now."""
        self.max_body = max_body
        self._media_hosts = media_hosts
        self._filters: dict[tuple[str, str], Filter] = {}
        for ref in self._catalog.refs(presets=True):
            preset = ref.entry.presets.get(ref.preset)
            if (filters := filters_with(preset, ref.entry.request)) is not None:
                self._filters[ref.alias, ref.preset] = Filter(filters, preset.system if preset else None)

    async def read(self, scope: Scope, receive: Receive, request_id: str) -> Call:
        """Raises a RequestError, or ClientGone."""
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
            with suppress(InvalidBodyError):  # an array, say: llama-server's own affair
                fields = Routing(model=routing(body).model)
        ref, where = self.named(fields.model, may_use(scope)), target(scope)
        if by_query and body is not None:
            refuse_other_folders(ref, where)
        answer = None
        if body is not None and boundary is None and not by_query:
            if self._filters:
                body, fields = self._filtered(ref, where, body, fields)
            ours = isinstance(ref.entry, LocalEntry)
            if (amendment := amended(where, body, fields, request_id, ours=ours)) is not None:
                body, where, answer = amendment
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
            must_call=tool_use(fields),
        )

    def remote(self, fields: Routing) -> Remote | None:
        """The media that a body names by address; raises RemoteMediaRefusedError for a host that is not listed."""
        remote = find(fields.messages, input=fields.input, query=fields.query, documents=fields.documents)
        if remote is not None:
            for url in remote.urls:
                address(url, self._media_hosts)
        return remote

    def named(self, model: str | None, may: ModelFilter = None) -> ModelRef:
        """Who is meant; raises UnknownAlias or ModelRequiredError."""
        if model is not None:
            return self._catalog.resolve(model, may)
        refs = self._catalog.refs(may, presets=True)
        # Who may use a preset alone means that
        shown = [ref for ref in refs if not ref.preset] or refs
        if len(shown) == 1:
            return shown[0]
        names = ", ".join(f"'{name}'" for name in shown) or "none"
        raise ModelRequiredError(f"Missing 'model'. Available models: {names}.")

    def _filtered(self, ref: ModelRef, target: str, body: bytes, fields: Routing) -> tuple[bytes, Routing]:
        """As the entry or the preset wants it to be, whichever of its variants is asked."""
        filters = self._filters.get((ref.alias, ref.preset))
        return (body, fields) if filters is None else filters.apply(target.partition("?")[0], body, fields)

    def _decoding(self, ref: ModelRef, *, logprobs: bool) -> ModelRef:
        """The model, or its plain variant where log probabilities need it."""
        if logprobs and isinstance(ref.entry, LocalEntry) and ref.entry.speculation.on_logprobs == "plain":
            return self._catalog.plain(ref)
        return ref
