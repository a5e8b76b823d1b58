//! What a client may ask of this frontend beside building: BuildKit's `frontend.caps`.

use pintle_sdk::{Error, Request, Result};

const PREFIX: &str = "moby.buildkit.frontend.";

/// Without the prefix.
const KNOWN: [&str; 4] = ["inputs", "subrequests", "contexts", "gitquerystring"];

/// What is asked for and not known.
pub struct Unknown {
    capability: String,
    /// Another frontend, when the Dockerfile names one, is to answer.
    pub forward: bool,
}

impl Unknown {
    /// As an error.
    pub fn error(self) -> Error {
        let message = format!("unsupported frontend capability {}", self.capability);
        Error::unsupported(message).with("frontend-cap", self.capability)
    }
}

/// Looks at what a request asks for.
///
/// # Errors
/// The first that is not known.
pub fn check(request: &Request) -> Result<(), Unknown> {
    for asked in request.opt("frontend.caps").unwrap_or_default().split(',').filter(|asked| !asked.is_empty()) {
        let (name, option) = asked.split_once('+').unwrap_or((asked, ""));
        if !name.strip_prefix(PREFIX).is_some_and(|name| KNOWN.contains(&name)) {
            return Err(Unknown { capability: name.to_string(), forward: option == "forward" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        let check = |caps: &str| {
            let opts = [("frontend.caps".to_string(), caps.to_string())].into();
            check(&Request { opts, ..Default::default() }).map_err(|unknown| (unknown.capability, unknown.forward))
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("moby.buildkit.frontend.subrequests+forward,moby.buildkit.frontend.contexts"), Ok(()));
        assert_eq!(check("moby.buildkit.frontend.inputs,a.b"), Err(("a.b".to_string(), false)));
        assert_eq!(check("a.b+forward"), Err(("a.b".to_string(), true)));
    }
}
