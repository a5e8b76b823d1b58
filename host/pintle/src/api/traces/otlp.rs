//! Spans on their way to a collector, by the variables that OpenTelemetry defines (`OTEL_EXPORTER_OTLP_ENDPOINT` ...).

use std::time::Duration;

use anyhow::{Context as _, bail};
use prost::Message;
use proto::opentelemetry::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::ResourceSpans,
};
use tokio::sync::mpsc;
use tonic::{
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// Batches that may wait for the collector; when it is slower than that, the newest are lost.
pub const BATCHES_WAITING: usize = 256;
/// How long the collector may take for a batch unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go. Cheap to clone.
#[derive(Clone)]
pub struct Collector(mpsc::Sender<Vec<ResourceSpans>>);

/// How spans travel.
enum Protocol {
    Grpc(Channel, MetadataMap),
    Http(reqwest::Client, String, reqwest::header::HeaderMap),
}

impl Collector {
    /// The collector that the environment names; `None` where it names none. Needs tokio's runtime.
    pub fn from_env() -> anyhow::Result<Option<Collector>> {
        Collector::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(get: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Collector>> {
        let Some(protocol) = protocol(get)? else { return Ok(None) };
        let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
        tokio::spawn(async move {
            let mut was_well = true;
            while let Some(resource_spans) = batches.recv().await {
                let sent = protocol.send(ExportTraceServiceRequest { resource_spans }).await;
                // Said once for as long as it lasts.
                if let (true, Err(error)) = (was_well, &sent) {
                    tracing::warn!("the collector of traces does not take spans: {error:#}");
                }
                was_well = sent.is_ok();
            }
        });
        Ok(Some(Collector(sender)))
    }

    /// Sends spans, in time.
    pub fn send(&self, spans: Vec<ResourceSpans>) {
        if self.0.try_send(spans).is_err() {
            tracing::debug!("spans are lost: {BATCHES_WAITING} batches wait for the collector");
        }
    }
}

/// What is set for traces, else for all signals.
fn either(get: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

fn protocol(get: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Protocol>> {
    let wanted = get("OTEL_TRACES_EXPORTER");
    let endpoint = either(get, "ENDPOINT");
    let is_off = get("OTEL_SDK_DISABLED").is_some_and(|value| value == "true") || wanted.as_deref() == Some("none");
    if is_off || (endpoint.is_none() && wanted.as_deref() != Some("otlp")) {
        return Ok(None);
    }
    let timeout = match either(get, "TIMEOUT") {
        Some(text) => {
            let milliseconds = text.parse().with_context(|| format!("OTEL_EXPORTER_OTLP_TIMEOUT is {text:?}"));
            Duration::from_millis(milliseconds.context("want milliseconds")?)
        }
        None => TIMEOUT,
    };
    let headers = headers(&either(get, "HEADERS").unwrap_or_default())?;
    let ca = either(get, "CERTIFICATE");
    match either(get, "PROTOCOL").as_deref().unwrap_or("grpc") {
        "grpc" => grpc(&endpoint.unwrap_or_else(|| "http://localhost:4317".into()), ca, timeout, &headers).map(Some),
        "http/protobuf" => {
            // The one for traces is the whole URL; the one for all signals is what their paths are below.
            let whole = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .or_else(|| Some(format!("{}/v1/traces", get("OTEL_EXPORTER_OTLP_ENDPOINT")?.trim_end_matches('/'))));
            let url = whole.unwrap_or_else(|| "http://localhost:4318/v1/traces".into());
            http(url, ca, timeout, &headers).map(Some)
        }
        other => bail!("OTEL_EXPORTER_OTLP_PROTOCOL is {other:?}: want grpc or http/protobuf"),
    }
}

fn grpc(
    endpoint: &str,
    ca: Option<String>,
    timeout: Duration,
    headers: &[(String, String)],
) -> anyhow::Result<Protocol> {
    let wrong = || format!("OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint:?}: want http://HOST:PORT or https://HOST:PORT");
    let (scheme, _) = endpoint.split_once("://").with_context(wrong)?;
    let mut channel = Endpoint::from_shared(endpoint.to_string()).with_context(wrong)?.timeout(timeout);
    match (scheme, ca) {
        ("http", _) => {}
        ("https", Some(path)) => {
            let ca = std::fs::read(&path).with_context(|| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: read {path}"))?;
            channel = channel.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))?;
        }
        ("https", None) => bail!(
            "spans go by gRPC over TLS to {endpoint}: set OTEL_EXPORTER_OTLP_CERTIFICATE to the authority's certificate, or \
             OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf"
        ),
        _ => bail!(wrong()),
    }
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let value: AsciiMetadataValue = value.parse().with_context(|| bad_header(name))?;
        metadata.insert(name.parse::<AsciiMetadataKey>().with_context(|| bad_header(name))?, value);
    }
    Ok(Protocol::Grpc(channel.connect_lazy(), metadata))
}

fn http(url: String, ca: Option<String>, timeout: Duration, headers: &[(String, String)]) -> anyhow::Result<Protocol> {
    let mut client = reqwest::Client::builder().timeout(timeout);
    if let Some(path) = ca {
        let ca = std::fs::read(&path).with_context(|| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: read {path}"))?;
        client = client.add_root_certificate(reqwest::Certificate::from_pem(&ca)?);
    }
    let mut map = reqwest::header::HeaderMap::new();
    for (name, value) in headers {
        let name = reqwest::header::HeaderName::try_from(name).with_context(|| bad_header(name))?;
        map.insert(name.clone(), value.parse().with_context(|| bad_header(name.as_str()))?);
    }
    reqwest::Url::parse(&url).with_context(|| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {url:?} is no URL"))?;
    Ok(Protocol::Http(client.build()?, url, map))
}

fn bad_header(name: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_HEADERS: {name:?} cannot be a header")
}

/// `NAME=VALUE,NAME=VALUE`.
fn headers(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) =
            pair.split_once('=').with_context(|| format!("OTEL_EXPORTER_OTLP_HEADERS: {pair:?} is not NAME=VALUE"))?;
        Ok((name.trim().to_ascii_lowercase(), value.trim().to_string()))
    };
    pairs.map(read).collect()
}

impl Protocol {
    async fn send(&self, batch: ExportTraceServiceRequest) -> anyhow::Result<()> {
        match self {
            Protocol::Grpc(channel, metadata) => {
                let request = tonic::Request::from_parts(metadata.clone(), Default::default(), batch);
                TraceServiceClient::new(channel.clone()).export(request).await?;
            }
            Protocol::Http(client, url, headers) => {
                let request = client.post(url).headers(headers.clone());
                let request = request.header(reqwest::header::CONTENT_TYPE, "application/x-protobuf");
                request.body(batch.encode_to_vec()).send().await?.error_for_status()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Option<Protocol>> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        protocol(&get)
    }

    #[tokio::test]
    async fn what_the_environment_says() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1/x/");
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        assert!(matches!(read(&[endpoint]).unwrap(), Some(Protocol::Grpc(..))));
        let url = |variables: &[(&str, &str)]| match read(variables).unwrap() {
            Some(Protocol::Http(_, url, headers)) => format!("{url} {}", headers.len()),
            _ => "no HTTP".into(),
        };
        assert_eq!(url(&[endpoint, http]), "http://localhost:1/x/v1/traces 0");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:2/y");
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, C=d=e");
        assert_eq!(url(&[endpoint, http, own, headers]), "http://localhost:2/y 2");
        assert_eq!(url(&[http, ("OTEL_TRACES_EXPORTER", "otlp")]), "http://localhost:4318/v1/traces 0");
        let refused = [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")][..], "want http://HOST:PORT"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x:1")], "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "want grpc or http/protobuf"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")], "OTEL_EXPORTER_OTLP_TIMEOUT"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "novalue")], "NAME=VALUE"),
            (&[endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c")], "cannot be a header"),
        ];
        for (variables, words) in refused {
            let error = format!("{:#}", read(variables).err().expect(words));
            assert!(error.contains(words), "{error}");
        }
    }
}
