"""The exceptions of llama-tandem; they know no HTTP and no terminal.

TandemError
├── ConfigError                   the settings or the catalog, as written, cannot be used
│   └── UnreadableKeysError       the API keys cannot be read
├── ReloadRefusedError            changed settings are invalid; the old ones stay
├── NotImportableError            a command line that cannot become an entry
├── GgufError                     a file is not a valid GGUF model
├── FilesMissingError             an entry names files that are not on disk
├── EngineNotFoundError           there is no llama-server to run
├── ProbeError                    a llama-server does not answer --help
├── RayNotInstalledError          the setting `cluster` needs it
├── NodeNotStartedError           this machine cannot join a cluster
├── LaunchRefusedError            this build does not support the entry
├── UnauthorizedError             no key, or an invalid one
├── ForbiddenError                a key that may not do this
├── MisdirectedError              a foreign Host header
├── PathNotFoundError             not at this port
├── RateLimitedError              a key has reached a limit
├── RecordsError                  the database in state_dir cannot be read or written
│   ├── NewerRecordsError         a later version of llama-tandem has written it
│   └── TableMismatchError        one of its tables has other columns
├── StoreError                    a model cannot be fetched, kept or removed
│   ├── HubError                  the Hub, or the way to it
│   │   ├── NotOnHubError
│   │   ├── AccessDeniedError     no token, a wrong one, or a licence that is not accepted
│   │   └── OfflineError          HF_HUB_OFFLINE is set
│   ├── DiskFullError
│   └── ChecksumMismatchError     what arrived is not what the Hub announced
├── BodyEditError                 the process that edits large bodies died
├── RequestCancelledError         cancelled by an administrator
├── RequestError                  the client's fault
│   ├── InvalidBodyError
│   ├── BodyTooLargeError
│   ├── ModelRequiredError
│   ├── UnknownAliasError
│   ├── UnknownPullError
│   ├── UnknownRequestError       no such running request
│   ├── UnsupportedEncodingError  an unknown Content-Encoding
│   ├── AttachedModelError        the gateway does not start or stop it
│   ├── EntryRefusedError         an entry for the gateway's memory that cannot be used
│   ├── ModelExistsError          its name is taken
│   ├── ResponseNotFoundError
│   ├── PreviousResponseError     a response that cannot be continued
│   ├── SlotActionRefusedError    the engine's saved slots are the gateway's own
│   ├── LogprobsRefusedError      speculation is on, and would make them wrong
│   └── RemoteMediaError          media at a URL that the request does not get
│       ├── RemoteMediaRefusedError   on a host that is not allowed
│       └── RemoteMediaFailedError    they cannot be fetched
├── EngineUnavailableError        no engine can answer now
│   ├── StartFailedError          the start failed; has the diagnosis
│   ├── DownloadingError          its files are being downloaded
│   ├── PullFailedError           the download failed; has the reason
│   ├── QueueTimeoutError         no place became free in time
│   ├── QueueFullError            the queue is full
│   ├── NoRoomError               pinned engines hold the place
│   ├── InsufficientMemoryError   it does not fit, even alone
│   ├── NoPortError               for an engine
│   ├── HostLostError             the machine of an engine
│   ├── NodeFailedError           the agent of a node
│   ├── NoNodeError               none of an entry's nodes is there
│   ├── EngineUnloadedError       by an administrator
│   ├── EngineLoadingError        it is still loading
│   ├── DeadlyRequestError        this request seems to crash the engine
│   └── ShuttingDownError
└── UpstreamError                 the upstream failed
    ├── UpstreamUnreachableError
    ├── UpstreamKeyRefusedError   it refused the entry's key
    ├── TokensUncountableError    it cannot count tokens
    ├── FormatIgnoredError        it answered with text instead of JSON
    └── UpstreamDiedError

Every message is one or two sentences for a person: what is wrong, and what would be right.

It may import nothing of ours. Begin with the tree above; each branch has a module. All names are imported from here.
"""

# ruff: noqa: F403 - the tree is the list of names, and a test compares it with the classes
from app.errors.access import *
from app.errors.base import *
from app.errors.engines import *
from app.errors.requests import *
from app.errors.settings import *
from app.errors.storage import *
