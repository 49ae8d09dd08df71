"""Calls the Hub through huggingface_hub: listings, URLs, search. Translates its errors. The only importer of it.

huggingface_hub itself reads HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE at import.
"""

from __future__ import annotations

import difflib
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from app.errors import AccessDeniedError, ChecksumMismatchError, HubError, NotOnHubError, OfflineError, reason_of
from app.models.disk.os_errors import in_words
from app.models.download.backoff import LONGEST_RETRY_AFTER_S, RETRIED, TRIES, delay, retry_after
from app.models.download.journal import FileVersion
from app.models.download.ranges import FileAddress
from app.models.gguf.filenames import check_repo, is_repo
from app.models.hub import cache as hub_cache
from app.models.hub.listing import HubFile, Listing

try:
    from huggingface_hub import (
        HfApi,
        constants,
        get_session,
        get_token,
        hf_hub_url,
        hf_raise_for_status,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import HfFileMetadata, repo_folder_name
    from huggingface_hub.hf_api import RepoFile
except ValueError as error:  # It parses HF_ENDPOINT at import
    raise HubError(f"HF_ENDPOINT is not a URL ({error}); it must look like https://huggingface.co.") from None

T = TypeVar("T")
# Errors of parsing a response that is not from a Hub. huggingface_hub lets these through.
_ODD = (ValueError, TypeError, KeyError, AttributeError, httpx2.RequestError, httpx2.InvalidURL)
_COMMIT, _CHECKSUM = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
# Connection timeouts, so that a missing network is reported soon.
_CONNECT_TRIES = 3
_NEAR = 5
_PATIENCE_S = 30.0
# Fields that a list of repos contains only on request.
_REPO_FIELDS = ("downloads", "likes", "gated")


@dataclass(frozen=True, slots=True)
class FoundRepo:
    """A repo in the results of a search."""

    repo: str
    downloads: int
    likes: int
    gated: bool


class Hub:
    """Every method raises HubError or a subclass. The constructor raises StoreError. Reports waits to `say`."""

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        with in_words(Path(constants.HF_TOKEN_PATH)):
            self._token = token or get_token()
        # The source of the token: HF_TOKEN first, then the file of `hf auth login`
        self._kept_in = "HF_TOKEN" if token or os.environ.get("HF_TOKEN") else constants.HF_TOKEN_PATH
        if self._token and not (self._token.isascii() and self._token.isprintable()):
            raise AccessDeniedError(
                f"The token in {self._kept_in} is invalid: tokens of {self.endpoint}/settings/tokens are plain ASCII."
            )
        # False: huggingface_hub would otherwise search for a token of its own
        self._api = HfApi(endpoint=self.endpoint, token=self._token or False)
        self._say = say
        self._sleep = sleep

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids requests."""
        return constants.is_offline_mode()

    def listing(self, repo: str, revision: str | None = None) -> Listing:
        """Returns the files of a branch or commit, by default main.

        Resolves the commit first, so the list is consistent.
        """
        check_repo(repo)
        commit = self._ask(repo, lambda: _commit(self._api.model_info(repo, revision=revision).sha))

        def files() -> dict[str, HubFile]:
            entries = self._api.list_repo_tree(repo, recursive=True, revision=commit)
            return {entry.path: _file(entry) for entry in entries if isinstance(entry, RepoFile)}

        return Listing(repo, commit, self._ask(repo, files))

    def address(self, identity: FileVersion, rest: Callable[[float], None]) -> FileAddress:
        """Returns the URL of a file's bytes. `rest` waits if the Hub is busy.

        Raises ChecksumMismatchError if the Hub contradicts its own listing.
        """
        url = hf_hub_url(identity.repo, identity.path, revision=identity.revision, endpoint=self.endpoint)

        def ask() -> HfFileMetadata:
            return self._api.get_hf_file_metadata(url=url, token=self._token or False)

        metadata = self._ask(identity.repo, ask, identity.path, rest)
        if metadata.size is not None and metadata.size != identity.size:
            raise ChecksumMismatchError(
                f"{identity.path}: the Hub lists {identity.size} bytes and announces {metadata.size} where they lie."
            )
        # For a xet-backed file, the redirect of HEAD may lead to a URL that serves no bytes. GET requests are
        # redirected correctly (see ADR 0001)
        return FileAddress(
            metadata.location if metadata.xet_file_data is None else url, self.endpoint, self._credentials
        )

    def search(self, text: str, limit: int) -> list[FoundRepo]:
        """Returns repos with GGUF files, most downloaded first. Skips repos with invalid names."""
        return self._ask(text, lambda: self._repos(search=text, sort="downloads", limit=limit, expand=_REPO_FIELDS))

    def _repos(self, **query: Any) -> list[FoundRepo]:
        # list_models retries by itself for half a minute without a report
        url, params = f"{self.endpoint}/api/models", {"filter": "gguf", **query}
        response = get_session().get(url, params=params, headers=dict(self._credentials), timeout=_PATIENCE_S)
        hf_raise_for_status(response)
        return [
            FoundRepo(repo["id"], int(repo.get("downloads") or 0), int(repo.get("likes") or 0), bool(repo.get("gated")))
            for repo in response.json()
            if is_repo(repo["id"])
        ]

    def cached(self, identity: FileVersion) -> Path | None:
        """Returns the file in the Hub's own cache (HF_HOME), at this revision or another with the same bytes."""
        path = try_to_load_from_cache(identity.repo, identity.path, revision=identity.revision)
        if isinstance(path, str) and Path(path).is_file():
            return Path(path).resolve()
        return hub_cache.blob(_cache_of(identity.repo), identity.digest)

    def cached_listings(self, repo: str) -> list[Listing]:
        """Returns the GGUF files of a repo in the Hub's own cache, the likeliest commit first. Sends no request."""
        return hub_cache.listings(_cache_of(check_repo(repo)), repo)

    @property
    def _credentials(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self._token}"),) if self._token else ()

    # -- errors ----------------------------------------------------------------------------------------------

    def _ask(self, repo: str, ask: Callable[[], T], path: str = "", rest: Callable[[float], None] | None = None) -> T:
        attempt, rest = 0, rest or self._sleep
        while True:
            attempt += 1
            try:
                return ask()
            except OfflineModeIsEnabled:
                raise OfflineError(
                    f"{repo}: HF_HUB_OFFLINE is set, so the Hub is not asked; unset it for that."
                ) from None
            except HfHubHTTPError as error:
                status = error.response.status_code
                wish = retry_after(error.response.headers.get("Retry-After"))
                if status not in RETRIED or attempt >= TRIES or (wish or 0) > LONGEST_RETRY_AFTER_S:
                    raise self._in_words(repo, path, error) from None
                self._wait(f"the Hub answers {status}", attempt, wish, rest)
            except httpx2.TransportError as error:
                if attempt >= _CONNECT_TRIES:
                    raise HubError(
                        f"Cannot reach {self.endpoint} ({reason_of(error)}). "
                        "Check the network, and HF_ENDPOINT if it is set."
                    ) from None
                self._wait("the Hub cannot be reached", attempt, None, rest)
            except HFValidationError as error:
                raise NotOnHubError(f"{repo} is not a valid repo name: {error}") from None
            except _ODD as error:
                raise HubError(
                    f"Unexpected response from {self.endpoint} ({type(error).__name__}: {error}). "
                    "Check HF_ENDPOINT, or whether your network requires a login."
                ) from None

    def _wait(self, why: str, attempt: int, wish: float | None, rest: Callable[[float], None]) -> None:
        seconds = delay(attempt, wish, random.random)
        self._say(f"{why}; trying again in {seconds:.1f} s")
        rest(seconds)

    def _in_words(self, repo: str, path: str, error: HfHubHTTPError) -> HubError:
        status, page = error.response.status_code, f"{self.endpoint}/{repo}"
        if isinstance(error, GatedRepoError):
            if self._token:
                return AccessDeniedError(
                    f"{repo} is behind a licence that this token's account has not accepted: do so at {page}."
                )
            return AccessDeniedError(
                f"{repo} is behind a licence: accept it at {page}, then set HF_TOKEN to a token of that account "
                f"({self.endpoint}/settings/tokens)."
            )
        if isinstance(error, RevisionNotFoundError):
            return NotOnHubError(f"{repo}: the Hub does not have this revision (any more).")
        if isinstance(error, RemoteEntryNotFoundError):
            return NotOnHubError(f"{repo}: the Hub does not have {path} (any more).")
        if isinstance(error, RepositoryNotFoundError):
            token = "" if self._token else ", or it is private and HF_TOKEN is not set"
            return NotOnHubError(f"{repo} is not on the Hub{token}.{self._near(repo)}")
        if status in (401, 403) and self._token:
            how = "is not accepted" if status == 401 else "may not read this"
            return AccessDeniedError(
                f"{repo}: the token in {self._kept_in} {how} (see {self.endpoint}/settings/tokens)."
            )
        if status in (401, 403):
            return AccessDeniedError(
                f"{repo}: the Hub answers {status}, and no token is set: set HF_TOKEN to one "
                f"({self.endpoint}/settings/tokens)."
            )
        if status not in RETRIED:
            return HubError(
                f"{repo}: {self.endpoint} answers {status}, which is not the Hub's response. Check HF_ENDPOINT."
            )
        wish = retry_after(error.response.headers.get("Retry-After"))
        when = "later" if wish is None else f"in {wish:.0f} s, as it asks"
        return HubError(f"{repo}: the Hub answers {status}; try again {when}.")

    def _near(self, repo: str) -> str:
        """Returns a sentence with repos of similar names. Returns "" if there are none or the search fails."""
        name = repo.partition("/")[2]
        known: dict[str, None] = {}
        with suppress(HfHubHTTPError, *_ODD):
            # A misspelt name finds nothing, but its first word or its owner may
            for query in ({"search": name}, {"search": name.split("-")[0]}, {"author": repo.partition("/")[0]}):
                known |= dict.fromkeys(row.repo for row in self._repos(**query, limit=50))
        near = difflib.get_close_matches(repo, known, n=_NEAR, cutoff=0.5)
        return f" Similar names: {', '.join(near)}." if near else ""


def _cache_of(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))


def _commit(sha: str | None) -> str:
    """Checks a commit and raises ValueError, as `_file` does: both become paths in the cache and are printed."""
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise ValueError(f"{sha!r} is no commit")
    return sha


def _file(entry: RepoFile) -> HubFile:
    kind, size, checksum = "git", entry.size, entry.blob_id
    if entry.lfs is not None:
        kind, size, checksum = "sha256", entry.lfs.size, entry.lfs.sha256
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"{entry.path!r} has no size: {size!r}")
    if not _CHECKSUM.fullmatch(checksum):
        raise ValueError(f"{entry.path!r} has no checksum: {checksum!r}")
    return HubFile(size, f"{kind}:{checksum}")
