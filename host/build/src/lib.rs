//! The spine: a request goes to a frontend, its graph is solved, the results are exported.
//!
//! [`Engine`] is the one engine behind the embedded command line and the daemon. Nothing here knows the wire.
#![forbid(unsafe_code)]

mod bridge;
mod cache;
mod container;
mod engine;
mod entitlements;
mod failure;
mod frontends;
mod journal;
mod lazy;
mod lock;
mod nested;
mod permit;
pub mod policy;
mod provenance;
mod run;
mod sbom;

pub use cache::CacheOption;
pub use engine::{Config, Engine, Worker};
pub use entitlements::{Entitlement, Entitlements};
pub use exporters::{Attestation, Built};
pub use failure::{Detail, Failure, Left};
pub use frontends::{
    BUNDLE_NAME, BUNDLE_SIGNATURES, BUNDLE_SIGNED, Blobs, Consequence, Fetched, Freshness, FrontendPolicy, Frontends,
    Gateway, GatewayCall, Grant, Grants, ImageSettings, LayoutName, PackedComponent, PolicyError, PolicyFileError,
    Settings as FrontendSettings, Signed, Trust, TrustRule, Verdict, component as packed_component,
    fetch as fetch_frontend, file_name, hint as frontend_hint, load_bundle, load_bundle_dir,
    signatures as frontend_signatures,
};
pub use journal::{Activity, Journal, Subscription};
pub use lazy::names_match;
pub use lock::{LOCK_BYTES_MAX, LOCK_FILE, LOCK_NAMES_MAX, Lock, LockError, Pins};
pub use ops::{SpanId, Trace, Tracing};
pub use permit::{Policies, QUESTIONS_MAX};
pub use provenance::{Attest, Provenance, ProvenanceOptions, SbomOptions};
pub use run::{Export, LateExports, Request, Response, What};
pub use sources::Layout;
