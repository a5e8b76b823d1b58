//! Both halves of a session over a pipe in memory: an engine that does nothing but call its client, and a client that lets itself
//! be called.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{
    Attachments, BuildError, Connection, Export, ExportTarget, SecretSource, SessionHandle, SolveRequest, SshAgent,
    errors::{Detail, status},
    open_dir,
    progress::Quiet,
};
use futures::{StreamExt, stream::BoxStream};
use proto::control::{self, control_server};
use session::{ExportTree, Filter, Manager, Session, TokenRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Response, Status, Streaming};

type Answer = Result<BTreeMap<String, String>, Status>;
type Work = Box<dyn Fn(Arc<dyn Session>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// An engine whose builds are `work`.
struct Engine {
    sessions: Manager,
    work: Work,
    solved: tokio::sync::watch::Sender<bool>,
}

#[tonic::async_trait]
impl control_server::Control for Engine {
    type SessionStream = BoxStream<'static, Result<control::BytesMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<control::BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (headers, _, incoming) = request.into_parts();
        let stream = self.sessions.open(&headers, incoming);
        stream.map(Response::new).map_err(|e| Status::failed_precondition(e.to_string()))
    }

    async fn solve(&self, request: Request<control::SolveRequest>) -> Result<Response<control::SolveResponse>, Status> {
        let request = request.into_inner();
        let session = self.sessions.get(&request.session, session::OPEN_TIMEOUT).await;
        let session = session.map_err(|e| Status::not_found(e.to_string()))?;
        let result = (self.work)(session).await;
        self.solved.send_replace(true);
        result.map(|exporter_response| Response::new(control::SolveResponse { exporter_response }))
    }

    type StatusStream = BoxStream<'static, Result<control::StatusResponse, Status>>;

    async fn status(&self, _: Request<control::StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let mut solved = self.solved.subscribe();
        let end = async move { solved.wait_for(|solved| *solved).await.is_ok() };
        Ok(Response::new(futures::stream::once(end).filter_map(|_| async { None }).boxed()))
    }

    async fn disk_usage(
        &self,
        _: Request<control::DiskUsageRequest>,
    ) -> Result<Response<control::DiskUsageResponse>, Status> {
        Err(Status::unimplemented("not in this engine"))
    }

    type PruneStream = BoxStream<'static, Result<control::UsageRecord, Status>>;

    async fn prune(&self, _: Request<control::PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(Status::unimplemented("not in this engine"))
    }

    async fn list_workers(
        &self,
        _: Request<control::ListWorkersRequest>,
    ) -> Result<Response<control::ListWorkersResponse>, Status> {
        // BuildKit's client asks before it builds.
        let worker = proto::types::WorkerRecord { id: "one".into(), ..Default::default() };
        Ok(Response::new(control::ListWorkersResponse { record: vec![worker] }))
    }

    async fn info(&self, _: Request<control::InfoRequest>) -> Result<Response<control::InfoResponse>, Status> {
        Err(Status::unimplemented("not in this engine"))
    }

    type ListenBuildHistoryStream = BoxStream<'static, Result<control::BuildHistoryEvent, Status>>;

    async fn listen_build_history(
        &self,
        _: Request<control::BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(Status::unimplemented("not in this engine"))
    }

    async fn update_build_history(
        &self,
        _: Request<control::UpdateBuildHistoryRequest>,
    ) -> Result<Response<control::UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented("not in this engine"))
    }
}

/// A pipe, for tonic.
struct Pipe(tokio::io::DuplexStream);

/// Runs one build whose work is `work`, with `attachments`.
async fn build<F, Fut>(attachments: Attachments, work: F) -> Result<BTreeMap<String, String>, BuildError>
where
    F: Fn(Arc<dyn Session>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (connection, _sessions) = engine(Box::new(move |session| {
        let work = work(session);
        Box::pin(async { work.await.map(|()| BTreeMap::new()).map_err(|e| Status::unknown(format!("{e:#}"))) })
    }));
    run(&connection, attachments).await
}

fn engine(work: Work) -> (Connection, Manager) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let sessions = Manager::new();
    let engine = Engine { sessions: sessions.clone(), work, solved: tokio::sync::watch::Sender::new(false) };
    let service = control_server::ControlServer::new(engine);
    let pipe = futures::stream::once(async { Ok::<_, std::io::Error>(Pipe(far)) }).chain(futures::stream::pending());
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(pipe));
    (Connection::embedded(near), sessions)
}

async fn run(connection: &Connection, attachments: Attachments) -> Result<BTreeMap<String, String>, BuildError> {
    let exports = attachments.exports.keys().map(|_| Export { kind: "local".into(), ..Export::default() }).collect();
    let request = SolveRequest { frontend: "test".into(), exports, ..SolveRequest::default() };
    let solved = client::build(connection, SessionHandle::new_id(), "key", attachments, request, &mut Quiet).await?;
    Ok(solved.exporter)
}

#[tokio::test]
async fn directories_are_mirrored() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("src")).unwrap();
    fs::write(from.path().join("src/main.c"), "int main;").unwrap();
    fs::write(from.path().join("src/main.ö"), "object").unwrap();
    fs::write(from.path().join("README"), "read").unwrap();
    fs::write(to.path().join("stale"), "old").unwrap();
    let dirs = BTreeMap::from([("context".to_owned(), open_dir(from.path().to_owned()).unwrap())]);
    let dest = to.path().to_owned();
    let attachments = Attachments { dirs, ..Attachments::default() };
    build(attachments, move |session| {
        let dest = dest.clone();
        async move {
            assert_eq!(session.shared_key(), "key");
            let counted = Mutex::new((0, 0));
            let filter = Filter { exclude: vec!["**/*.ö".into()], ..Filter::default() };
            session.sync_dir("context", &filter, dest.clone(), &|n, all| *counted.lock().unwrap() = (n, all)).await?;
            let (n, all) = *counted.lock().unwrap();
            assert!(n > 13 && all > 13, "{n} of {all}");
            let error = session.sync_dir("other", &filter, dest, &|_, _| ()).await.unwrap_err();
            assert!(format!("{error:#}").contains("no access allowed to dir \"other\""), "{error:#}");
            Ok(())
        }
    })
    .await
    .unwrap();
    assert_eq!(fs::read_to_string(to.path().join("src/main.c")).unwrap(), "int main;");
    assert!(!to.path().join("src/main.ö").exists() && !to.path().join("stale").exists());
    assert!(to.path().join("README").exists());
}

#[tokio::test]
async fn directories_of_the_same_process_need_no_wire() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("f"), "x").unwrap();
    let dest = to.path().to_owned();
    let (connection, sessions) = engine(Box::new(move |session| {
        let dest = dest.clone();
        Box::pin(async move {
            assert!(session.local_dir("context").is_some() && session.local_dir("other").is_none());
            let synced = session.sync_dir("context", &Filter::default(), dest, &|_, _| ()).await;
            synced.map(|()| BTreeMap::new()).map_err(|e| Status::unknown(format!("{e:#}")))
        })
    }));
    let id = SessionHandle::new_id();
    let dirs = [("context".to_owned(), open_dir(from.path().to_owned()).unwrap())];
    let _shared = sessions.share_dirs(&id, dirs.into());
    let request = SolveRequest::default();
    client::build(&connection, id, "", Attachments::default(), request, &mut Quiet).await.unwrap();
    assert_eq!(fs::read_to_string(to.path().join("f")).unwrap(), "x");
}

#[tokio::test]
async fn results_arrive_as_tree_and_as_file() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("d")).unwrap();
    fs::write(from.path().join("d/f"), "tree").unwrap();
    let exports = BTreeMap::from([
        (0, ExportTarget::Dir { path: to.path().join("tree"), delete: false }),
        (1, ExportTarget::File(to.path().join("new/out.tar"))),
        (2, ExportTarget::File("/dev/full".into())),
    ]);
    let root = from.path().to_owned();
    build(Attachments { exports, ..Attachments::default() }, move |session| {
        let root = root.clone();
        async move {
            let attrs = BTreeMap::from([("a.b".to_owned(), "c".to_owned()), ("bad key".to_owned(), "\n".to_owned())]);
            session.send_dir("0", vec![tree(root)], &attrs, &|_, _| ()).await?;
            let mut file = session.send_file("1", &attrs).await?;
            let data = bytes::Bytes::from(vec![7; 5 << 20]);
            file.write(data.clone()).await?;
            file.write("end".into()).await?;
            file.finish().await?;
            // A file that is dropped unfinished never appears; nor does one for which there is no room.
            let mut file = session.send_file("1", &attrs).await?;
            file.write("lost".into()).await?;
            drop(file);
            let mut file = session.send_file("2", &attrs).await?;
            let written = file.write(data).await;
            let error = match written {
                Ok(()) => file.finish().await.unwrap_err(),
                Err(e) => e,
            };
            assert!(format!("{error:#}").contains("No space left"), "{error:#}");
            let mut file = session.send_file("9", &attrs).await?;
            let _ = file.write("x".into()).await;
            assert!(format!("{:#}", file.finish().await.unwrap_err()).contains("no export 9"));
            Ok(())
        }
    })
    .await
    .unwrap();
    assert_eq!(fs::read_to_string(to.path().join("tree/d/f")).unwrap(), "tree");
    let file = fs::read(to.path().join("new/out.tar")).unwrap();
    assert_eq!((file.len(), &file[5 << 20..]), ((5 << 20) + 3, &b"end"[..]));
}

fn tree(root: std::path::PathBuf) -> ExportTree {
    ExportTree { root, prefix: None, mod_time: None }
}

struct Logins;

#[tonic::async_trait]
impl oci::Credentials for Logins {
    async fn login(&self, host: &str) -> anyhow::Result<Option<oci::Login>> {
        match host {
            "a.example" => Ok(Some(oci::Login::Password { username: "u".into(), password: "p".into() })),
            "b.example" => Ok(Some(oci::Login::IdentityToken("t".into()))),
            "c.example" => anyhow::bail!("the helper is on holiday"),
            _ => Ok(None),
        }
    }

    async fn token(&self, request: &oci::TokenRequest) -> anyhow::Result<Option<oci::Token>> {
        let token = format!("{} {}", request.service, request.scopes.join("+"));
        Ok((request.host == "a.example").then_some(oci::Token { token, expires_in: None }))
    }
}

#[tokio::test]
async fn logins_and_secrets_are_given_when_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hidden\n").unwrap();
    let gone = file.path().with_extension("gone");
    let secrets = BTreeMap::from([
        ("file".to_owned(), SecretSource::File(file.path().to_owned())),
        ("env".to_owned(), SecretSource::Env("PATH".to_owned())),
        ("gone".to_owned(), SecretSource::File(gone)),
        ("large".to_owned(), SecretSource::File("/dev/zero".into())),
    ]);
    let attachments = Attachments { secrets, credentials: Some(Arc::new(Logins)), ..Attachments::default() };
    build(attachments, |session| async move {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(session.credentials("a.example").await?, pair("u", "p"));
        assert_eq!(session.credentials("b.example").await?, pair("", "t"));
        assert_eq!(session.credentials("d.example").await?, pair("", ""));
        let error = session.credentials("c.example").await.unwrap_err();
        assert!(format!("{error:#}").contains("on holiday"), "{error:#}");
        let request = TokenRequest {
            host: "a.example".into(),
            service: "s".into(),
            scopes: vec!["x".into(), "y".into()],
            ..TokenRequest::default()
        };
        let token = session.fetch_token(request.clone()).await?.unwrap();
        assert_eq!((token.token.as_str(), token.expires_in), ("s x+y", 60));
        // A login goes to no realm that anyone could listen at.
        let realm = "http://b.example/token".to_owned();
        let error =
            session.fetch_token(TokenRequest { host: "b.example".into(), realm, ..request }).await.err().unwrap();
        assert!(format!("{error:#}").contains("not https"), "{error:#}");
        assert_eq!(session.secret("file").await?.as_deref(), Some(&b"hidden\n"[..]));
        assert_eq!(session.secret("env").await?, std::env::var_os("PATH").map(|p| p.into_encoded_bytes()));
        assert_eq!(session.secret("none").await?, None);
        for (id, want) in [("gone", "No such file"), ("large", "longer than")] {
            let error = session.secret(id).await.unwrap_err();
            assert!(format!("{error:#}").contains(want), "{error:#}");
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_ssh_agent_is_reached_through_a_socket() {
    let tmp = tempfile::tempdir().unwrap();
    let socket = tmp.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    // An agent that answers each request with the request.
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = connection.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let ssh = BTreeMap::from([("default".to_owned(), SshAgent { socket, raw: false })]);
    build(Attachments { ssh, ..Attachments::default() }, |session| async move {
        session.check_ssh("").await?;
        let error = session.check_ssh("other").await.unwrap_err();
        assert!(format!("{error:#}").contains("--ssh other"), "{error:#}");
        let socket = session.forward_ssh("").await?;
        let path = socket.path.clone();
        let mut connection = tokio::net::UnixStream::connect(&path).await?;
        // Listing keys is let through; removing them all (19) is answered here.
        connection.write_all(b"\0\0\0\x01\x0b").await?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"\0\0\0\x01\x0b");
        connection.write_all(b"\0\0\0\x01\x13").await?;
        connection.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"\0\0\0\x01\x05");
        connection.shutdown().await?;
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await?;
        assert!(rest.is_empty());
        drop(socket);
        assert!(!path.exists());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn uploads_are_read_once() {
    let attachments = Attachments::default();
    let url = attachments.uploads.add(std::io::Cursor::new(vec![3; 1 << 20]));
    let path = url.strip_prefix("http://buildkit-session").unwrap().to_owned();
    build(attachments, move |session| {
        let path = path.clone();
        async move {
            let mut data = Vec::new();
            session.pull_upload(&path).await?.read_to_end(&mut data).await?;
            assert_eq!(data.len(), 1 << 20);
            let error = session.pull_upload(&path).await.err().unwrap();
            assert!(format!("{error:#}").contains("read already"), "{error:#}");
            Ok(())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_a_client_does_not_offer_is_said_at_once() {
    build(Attachments::default(), |session| async move {
        let dest = std::env::temp_dir();
        let error = |e: anyhow::Error| format!("{e:#}");
        let texts = [
            error(session.sync_dir("context", &Filter::default(), dest.clone(), &|_, _| ()).await.unwrap_err()),
            error(session.send_dir("0", vec![tree(dest)], &BTreeMap::new(), &|_, _| ()).await.unwrap_err()),
            error(session.send_file("0", &BTreeMap::new()).await.err().unwrap()),
            error(session.check_ssh("").await.unwrap_err()),
            error(session.forward_ssh("").await.err().unwrap()),
            error(session.pull_upload("/x").await.err().unwrap()),
        ];
        assert!(texts.iter().all(|text| text.starts_with("the client does not")), "{texts:?}");
        assert_eq!(session.secret("x").await?, None);
        assert_eq!(session.credentials("x").await?, Default::default());
        assert!(session.fetch_token(TokenRequest::default()).await?.is_none());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_calls() {
    let (near, far) = tokio::io::duplex(64 << 10);
    let sessions = Manager::new();
    let engine = Engine {
        sessions: sessions.clone(),
        work: Box::new(|_| Box::pin(async { Ok(BTreeMap::new()) })),
        solved: tokio::sync::watch::Sender::new(false),
    };
    let service = control_server::ControlServer::new(engine);
    let pipe = futures::stream::once(async { Ok::<_, std::io::Error>(Pipe(far)) }).chain(futures::stream::pending());
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(pipe));
    let connection = Connection::embedded(near);
    // An upload that never ends holds a call open.
    let attachments = Attachments::default();
    let (never, _keep) = tokio::io::duplex(1);
    let url = attachments.uploads.add(never);
    let handle = SessionHandle::open(&connection, "one".into(), "", attachments).await.unwrap();
    let session = sessions.get("one", Duration::from_secs(5)).await.unwrap();
    assert_eq!(sessions.ids(), ["one"]);
    let second = SessionHandle::open(&connection, "one".into(), "", Attachments::default()).await;
    assert!(second.err().unwrap().message().contains("exists already"));
    let mut upload = session.pull_upload(url.strip_prefix("http://buildkit-session").unwrap()).await.unwrap();
    drop(handle);
    let mut data = Vec::new();
    assert!(upload.read_to_end(&mut data).await.is_err());
    let error = session.secret("x").await;
    // `secret` is not offered, so ask for what is: any later call fails too.
    assert!(error.is_err() || session.pull_upload("/x").await.is_err());
    while !sessions.ids().is_empty() {
        tokio::task::yield_now().await;
    }
    let error = session.credentials("x").await.unwrap_err();
    assert!(format!("{error:#}").contains("is gone"), "{error:#}");
    let missing = sessions.get("one", Duration::from_millis(1)).await.err().unwrap();
    assert!(missing.to_string().contains("no session one"), "{missing}");
}

#[tokio::test]
async fn errors_keep_their_details() {
    let source = client::errors::Source {
        info: Some(client::progress::SourceInfo { filename: "Dockerfile".into(), ..Default::default() }),
        ranges: vec![client::progress::Range::default()],
    };
    let details = vec![
        Detail::Vertex(client::errors::Vertex { digest: "sha256:1".into() }),
        Detail::Source(source.clone()),
        Detail::Solve(client::errors::Solve { input_ids: vec!["a".into()], ..Default::default() }),
    ];
    let sent = details.clone();
    let (connection, _sessions) = engine(Box::new(move |_| {
        let status = status(Code::InvalidArgument, "no such stage", &sent);
        Box::pin(async { Err(status) })
    }));
    let error = run(&connection, Attachments::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to build: failed to solve: no such stage");
    assert_eq!(error.details, details);
    assert_eq!(error.vertex(), Some("sha256:1"));
    assert_eq!(error.sources().collect::<Vec<_>>(), [&source]);
}

/// BuildKit's own client against our half of the session. It does its frontend's work itself, over a service that this engine does
/// not have, so it fails in the end; what it does before is what is looked at.
#[tokio::test]
async fn a_real_client_is_understood() {
    let Some(buildctl) = std::env::var_os("BUILDCTL") else {
        println!("skipped: BUILDCTL names no buildctl");
        return;
    };
    let tmp = tempfile::tempdir().unwrap();
    let at = |name: &str| tmp.path().join(name);
    fs::create_dir_all(at("context/src")).unwrap();
    (0..500).for_each(|i| fs::write(at(&format!("context/src/{i:03}")), "x".repeat(i * 100)).unwrap());
    fs::write(at("context/ö"), "left out").unwrap();
    fs::hard_link(at("context/src/001"), at("context/linked")).unwrap();
    fs::create_dir(at("mirror")).unwrap();
    fs::write(at("secret"), "hidden").unwrap();
    let (context, mirror, done) = (at("context"), at("mirror"), Arc::new(Mutex::new(None)));
    let result = done.clone();
    let engine = Engine {
        sessions: Manager::new(),
        work: Box::new(move |session| {
            let (context, mirror, result) = (context.clone(), mirror.clone(), result.clone());
            Box::pin(async move {
                let outcome = talk_to_buildctl(session, context, mirror).await;
                *result.lock().unwrap() = Some(outcome);
                Ok(BTreeMap::new())
            })
        }),
        solved: tokio::sync::watch::Sender::new(false),
    };
    let listener = tokio::net::UnixListener::bind(at("sock")).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let service = control_server::ControlServer::new(engine);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let output = tokio::process::Command::new(buildctl)
        .current_dir(tmp.path())
        .args(["--addr", &format!("unix://{}", at("sock").display()), "build", "--progress=plain"])
        .args(["--frontend=dockerfile.v0", "--local=context=context", "--secret=id=s,src=secret"])
        .args(["--output=type=local,dest=out", "--output=type=tar,dest=out.tar"])
        .output()
        .await
        .unwrap();
    let outcome = done.lock().unwrap().take();
    outcome.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr))).unwrap();
    assert_eq!(fs::read(at("out/src/499")).unwrap().len(), 49_900);
    assert_eq!(fs::read_to_string(at("out.tar")).unwrap(), "not really");
}

async fn talk_to_buildctl(
    session: Arc<dyn Session>,
    context: std::path::PathBuf,
    mirror: std::path::PathBuf,
) -> anyhow::Result<()> {
    let filter = Filter { exclude: vec!["ö".into()], ..Filter::default() };
    for changed in [500, 0] {
        let received = Mutex::new(0);
        session.sync_dir("context", &filter, mirror.clone(), &|n, _| *received.lock().unwrap() = n).await?;
        let contents = *received.lock().unwrap() > 12_000_000;
        anyhow::ensure!(contents == (changed > 0), "unchanged files were sent again");
        anyhow::ensure!(fs::read(mirror.join("src/499"))? == fs::read(context.join("src/499"))?);
        anyhow::ensure!(fs::read(mirror.join("linked"))? == fs::read(mirror.join("src/001"))?);
        anyhow::ensure!(!mirror.join("ö").exists());
    }
    anyhow::ensure!(session.secret("s").await?.as_deref() == Some(&b"hidden"[..]));
    anyhow::ensure!(session.secret("none").await?.is_none());
    session.send_dir("0", vec![tree(mirror.clone())], &BTreeMap::new(), &|_, _| ()).await?;
    let mut file = session.send_file("1", &BTreeMap::new()).await?;
    file.write("not really".into()).await?;
    file.finish().await?;
    let error = session.sync_dir("other", &filter, mirror, &|_, _| ()).await.unwrap_err();
    anyhow::ensure!(format!("{error:#}").contains("no access allowed"), "{error:#}");
    Ok(())
}

impl tonic::transport::server::Connected for Pipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
