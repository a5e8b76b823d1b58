//! Registries as the engine keeps them: one client for the clients of a build, and providers for layers that are not here yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use oci::{Anonymous, Client, Hosts, Reference};
use session::Session;
use store::{Descriptor, Provider};
use tokio::io::AsyncRead;

use crate::credentials::SessionCredentials;

/// What a provider's locator begins with.
const LOCATOR_PREFIX: &str = "registry:";
/// How many parties' access to one repository is remembered, newest first.
const ACCESS_MAX: usize = 8;

/// The registries of an engine. Whoever pulls or pushes in a build gets the [`Client`] of that build here, so that tokens are shared.
pub struct Registries {
    hosts: Arc<Hosts>,
    clients: Mutex<HashMap<Vec<String>, Access>>,
    providers: Mutex<HashMap<String, Arc<RegistryProvider>>>,
}

/// A client and the credentials behind it.
#[derive(Clone)]
struct Access {
    client: Client,
    credentials: Arc<SessionCredentials>,
}

impl Registries {
    /// Registries that are reached as `hosts` says.
    pub fn new(hosts: Arc<Hosts>) -> Arc<Registries> {
        Arc::new(Registries { hosts, clients: Mutex::default(), providers: Mutex::default() })
    }

    /// The client that logs in as these clients of a build.
    pub fn client(&self, sessions: &[Arc<dyn Session>]) -> Client {
        self.access(sessions).client
    }

    fn access(&self, sessions: &[Arc<dyn Session>]) -> Access {
        let key = sessions.iter().map(|session| session.id().to_string()).collect();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|_, access| access.credentials.is_live());
        let make = || {
            let credentials = Arc::new(SessionCredentials::new(sessions));
            Access { client: Client::new(self.hosts.clone(), credentials.clone()), credentials }
        };
        clients.entry(key).or_insert_with(make).clone()
    }

    /// What fetches layers of `reference`'s repository, now also for these clients, who have shown that they may read it.
    pub(crate) fn provider(&self, reference: &Reference, sessions: &[Arc<dyn Session>]) -> Arc<RegistryProvider> {
        let access = self.access(sessions);
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(RegistryProvider::new(self.hosts.clone(), reference));
        let provider = providers.entry(reference.name()).or_insert_with(make).clone();
        drop(providers);
        provider.allow(access);
        provider
    }

    /// The provider that a [`Provider::locator`] of an earlier run of the engine meant; `None` when it is none of a registry.
    /// Until a build's client has shown that it may read the repository, it reads as nobody.
    pub fn reopen(&self, locator: &str) -> Option<Arc<dyn Provider>> {
        let reference: Reference = locator.strip_prefix(LOCATOR_PREFIX)?.parse().ok()?;
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(RegistryProvider::new(self.hosts.clone(), &reference));
        Some(providers.entry(reference.name()).or_insert_with(make).clone())
    }
}

/// Fetches blobs of one repository.
pub(crate) struct RegistryProvider {
    reference: Reference,
    nobody: Client,
    allowed: Mutex<Vec<Access>>,
}

impl RegistryProvider {
    fn new(hosts: Arc<Hosts>, reference: &Reference) -> RegistryProvider {
        let nobody = Client::new(hosts, Arc::new(Anonymous));
        RegistryProvider { reference: reference.clone(), nobody, allowed: Mutex::default() }
    }

    /// Puts `access` first.
    fn allow(&self, access: Access) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.retain(|old| old.credentials.is_live() && !Arc::ptr_eq(&old.credentials, &access.credentials));
        allowed.insert(0, access);
        allowed.truncate(ACCESS_MAX);
    }

    /// Who may read, newest first; at last nobody.
    fn clients(&self) -> Vec<Client> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.iter().map(|access| access.client.clone()).chain([self.nobody.clone()]).collect()
    }
}

#[async_trait]
impl Provider for RegistryProvider {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let mut refused = None;
        for client in self.clients() {
            let repository = client.repository(&self.reference);
            match repository.blob(&descriptor.digest, descriptor.size, offset).await {
                Ok(reader) => return Ok(Box::new(reader)),
                // What somebody with a login was told is what the user must hear, not what nobody was.
                Err(error) if error.is_auth() => refused = Some(refused.unwrap_or(error)),
                Err(error) => return Err(error.into()),
            }
        }
        match refused {
            Some(error) => Err(error.into()),
            None => anyhow::bail!("{}: nobody may read it", self.reference.name()),
        }
    }

    fn locator(&self) -> String {
        format!("{LOCATOR_PREFIX}{}", self.reference.name())
    }
}
