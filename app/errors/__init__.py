"""Everything the service refuses or fails at, and how each reads over HTTP.

ErrataError
├── Refusal                     the request is at fault; answered 4xx
│   ├── InvalidField            422  one field is unusable; names it
│   │   ├── UnknownParameter    a query parameter that the path does not know
│   │   └── OverBudget          it asks for more than any minute has
│   ├── ContextTooLong          400  prompt and answer do not fit into the model's context
│   ├── IdempotencyMismatch     422  the key was used before with another body
│   ├── KeyNeeded               401  no key that counts came with the request
│   │   ├── KeyInvalid          it is mistyped, or nobody was given it
│   │   ├── KeyRevoked
│   │   ├── KeyExpired
│   │   └── TicketInvalid       it is over, or was not made here
│   ├── ScopeMissing            403  the key is not for this
│   ├── ForeignRequest          403  without keys only this machine's own programs are let in
│   ├── ForeignHost             421  the name asked for is not this service's
│   ├── FirstKeyByCommand       403  the first key is not made over HTTP
│   ├── NotFound                404
│   │   ├── UnknownEdit
│   │   ├── UnknownBatch
│   │   ├── UnknownOperation
│   │   ├── UnknownRevision
│   │   ├── UnknownLabel
│   │   ├── UnknownExport
│   │   ├── ExportGone
│   │   ├── NoRevisionYet
│   │   ├── NoEntryYet
│   │   ├── UnknownKey
│   │   └── UnknownModel
│   ├── RevisionWithdrawn       410  it was served once, and never will be again
│   ├── RangeBeyond             416  the part asked for lies outside the file
│   ├── ClientGone              400  nobody waits for the answer any more
│   └── WrongState              409  the thing exists but can no longer be changed this way
│       ├── HeadMoved       412  the head is not the one that the client had seen
│       ├── KeyDamaged          what is stored of the API key is no key
│       ├── KeyMadeBefore       the same request made an API key, whose secret is not kept
│       ├── LabelTaken          the label is another revision's
│       ├── TooManyLabels       there is no room for a further one
│       ├── SiblingsUnknown     facts that share an edit's value can be neither asked nor solved
│       └── ExportNotFinished   there is no file to download, or none yet
├── RateLimited                 429  the caller's budget is used up; asking again later will succeed
│   ├── TooManyListeners        every place to listen is taken
│   └── TooManyExports          so many wait to be written already
├── Unavailable                 503  asking again later may succeed
│   ├── ModelNotReady
│   ├── RevisionNotServed       it is committed, but this process does not serve it yet
│   ├── NotReady
│   ├── DatabaseUnavailable
│   │   ├── DatabaseAway        nothing answers where it should be
│   │   └── DatabaseOverloaded  it is there, and takes no more now
│   ├── StorageUnavailable
│   ├── StorageFull         507  there is too little free space to take on more
│   ├── TooManyViews            every place for an old revision is taken
│   ├── QueueUnavailable
│   └── QueueFull               it takes no rings; the worker looks by itself
├── LeaseLost                   503  another process writes now; nothing was written
├── GenerationFailed            500  the model failed while it answered
├── Inconsistent                500  stored state contradicts itself; an operator must look
│   ├── BaseMismatch            the database belongs to another model
│   ├── RecipeMismatch          the recipe in use is for another model, text or layers
│   ├── UnusableRecipe          a file that should hold a recipe says something else
│   ├── StaleParent             the head moved while a revision was being computed
│   ├── CorruptArtefact         a stored file no longer has the digest it is named after
│   ├── CorruptLedger           the end of the ledger is not an entry that could be signed
│   ├── SetBack                 the database lacks entries that were committed here
│   ├── UnusableMark            the file that says how far the ledger was says something else
│   ├── UnusableKey             the file with the ledger's private key holds none
│   └── UnusablePepper          the secret that API keys were made with is not there
├── Unguarded                   others could reach the service without a key; only at start
├── ForeignFolder               the data directory is somebody else's; only at start
├── BadCheckpoint               a text is no checkpoint; only offline
└── BrokenEvidence              a bundle does not hold; names the first bad part; only offline

`app.http.problems` turns each into one problem document.
"""

from app.errors.access import (
    FirstKeyByCommand,
    ForeignFolder,
    ForeignHost,
    ForeignRequest,
    KeyExpired,
    KeyInvalid,
    KeyNeeded,
    KeyRevoked,
    ScopeMissing,
    TicketInvalid,
    Unguarded,
    first_key_command,
)
from app.errors.base import (
    ErrataError,
    Refusal,
)
from app.errors.budgets import (
    RateLimited,
    TooManyExports,
    TooManyListeners,
)
from app.errors.integrity import (
    BadCheckpoint,
    BaseMismatch,
    BrokenEvidence,
    CorruptArtefact,
    CorruptLedger,
    Inconsistent,
    RecipeMismatch,
    SetBack,
    StaleParent,
    UnusableKey,
    UnusableMark,
    UnusablePepper,
    UnusableRecipe,
)
from app.errors.missing import (
    ExportGone,
    NoEntryYet,
    NoRevisionYet,
    NotFound,
    RevisionWithdrawn,
    UnknownBatch,
    UnknownEdit,
    UnknownExport,
    UnknownKey,
    UnknownLabel,
    UnknownModel,
    UnknownOperation,
    UnknownRevision,
)
from app.errors.outage import (
    DatabaseAway,
    DatabaseOverloaded,
    DatabaseUnavailable,
    GenerationFailed,
    LeaseLost,
    ModelNotReady,
    NotReady,
    QueueFull,
    QueueUnavailable,
    RevisionNotServed,
    StorageFull,
    StorageUnavailable,
    TooManyViews,
    Unavailable,
)
from app.errors.requests import (
    ClientGone,
    ContextTooLong,
    IdempotencyMismatch,
    InvalidField,
    OverBudget,
    RangeBeyond,
    UnknownParameter,
)
from app.errors.state import (
    ExportNotFinished,
    HeadMoved,
    KeyDamaged,
    KeyMadeBefore,
    LabelTaken,
    SiblingsUnknown,
    TooManyLabels,
    WrongState,
)

__all__ = [
    "BadCheckpoint",
    "BaseMismatch",
    "BrokenEvidence",
    "ClientGone",
    "ContextTooLong",
    "CorruptArtefact",
    "CorruptLedger",
    "DatabaseAway",
    "DatabaseOverloaded",
    "DatabaseUnavailable",
    "ErrataError",
    "ExportGone",
    "ExportNotFinished",
    "FirstKeyByCommand",
    "ForeignFolder",
    "ForeignHost",
    "ForeignRequest",
    "GenerationFailed",
    "HeadMoved",
    "IdempotencyMismatch",
    "Inconsistent",
    "InvalidField",
    "KeyDamaged",
    "KeyExpired",
    "KeyInvalid",
    "KeyMadeBefore",
    "KeyNeeded",
    "KeyRevoked",
    "LabelTaken",
    "LeaseLost",
    "ModelNotReady",
    "NoEntryYet",
    "NoRevisionYet",
    "NotFound",
    "NotReady",
    "OverBudget",
    "QueueFull",
    "QueueUnavailable",
    "RangeBeyond",
    "RateLimited",
    "RecipeMismatch",
    "Refusal",
    "RevisionNotServed",
    "RevisionWithdrawn",
    "ScopeMissing",
    "SetBack",
    "SiblingsUnknown",
    "StaleParent",
    "StorageFull",
    "StorageUnavailable",
    "TicketInvalid",
    "TooManyExports",
    "TooManyLabels",
    "TooManyListeners",
    "TooManyViews",
    "Unavailable",
    "Unguarded",
    "UnknownBatch",
    "UnknownEdit",
    "UnknownExport",
    "UnknownKey",
    "UnknownLabel",
    "UnknownModel",
    "UnknownOperation",
    "UnknownParameter",
    "UnknownRevision",
    "UnusableKey",
    "UnusableMark",
    "UnusablePepper",
    "UnusableRecipe",
    "WrongState",
    "first_key_command",
]
