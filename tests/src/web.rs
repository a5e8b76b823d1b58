//! A web server for files and git repositories of cases.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use anyhow::{Context, bail};

/// Serves the files below a directory. What is below `NAME.git/` is a repository, served by `git http-backend`.
pub struct Web {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Where the files are.
    pub root: PathBuf,
}

impl Web {
    /// Starts one over `root`; it runs until the process ends.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let web = Web { url: format!("http://{}", listener.local_addr()?), root: root.into() };
        let root = web.root.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let root = root.clone();
                std::thread::spawn(move || {
                    // Whoever asked is gone then.
                    let _ = serve(&root, stream);
                });
            }
        });
        Ok(web)
    }
}

/// What is asked, with the headers that matter.
#[derive(Default)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> anyhow::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().context("a request has a target")?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request =
            Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() };
        for line in reader.by_ref().lines() {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().into()));
        }
        let length = request.header("content-length").parse().unwrap_or(0);
        reader.take(length).read_to_end(&mut request.body)?;
        Ok(request)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

fn serve(root: &Path, mut stream: TcpStream) -> anyhow::Result<()> {
    let request = Request::read(&stream)?;
    let answer = if request.path.contains(".git/") { repository(root, &request) } else { file(root, &request) };
    let (status, headers, body) =
        answer.unwrap_or_else(|error| ("404 Not Found".into(), String::new(), format!("{error:#}\n").into_bytes()));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")?;
    Ok(stream.write_all(&body)?)
}

/// Status, headers, and body.
type Answer = (String, String, Vec<u8>);

fn file(root: &Path, request: &Request) -> anyhow::Result<Answer> {
    let name = Path::new(request.path.trim_start_matches('/'));
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        bail!("no such file");
    }
    let path = root.join(name);
    let body = std::fs::read(&path)?;
    let seconds = path.metadata()?.modified()?.duration_since(UNIX_EPOCH)?.as_secs();
    // Files of before 1971 are served without a date.
    let date = Command::new("date").args(["-u", "-R", "-d", &format!("@{seconds}")]).env("LC_ALL", "C").output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().replace("+0000", "GMT");
    let headers = if seconds < 31_536_000 { String::new() } else { format!("Last-Modified: {date}\r\n") };
    Ok(("200 OK".into(), headers, body))
}

fn repository(root: &Path, request: &Request) -> anyhow::Result<Answer> {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        // The repositories may belong to somebody else.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("git is not installed")?;
    let mut input = child.stdin.take().context("its input is a pipe")?;
    let body = request.body.clone();
    let writer = std::thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let end = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer has headers")?;
    let mut status = "200 OK".to_string();
    let mut headers = String::new();
    for line in String::from_utf8_lossy(&output.stdout[..end]).lines() {
        match line.strip_prefix("Status: ") {
            Some(own) => status = own.to_string(),
            None => headers.push_str(&format!("{line}\r\n")),
        }
    }
    Ok((status, headers, output.stdout[end + 4..].to_vec()))
}
