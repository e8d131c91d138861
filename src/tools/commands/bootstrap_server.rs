//! The address that a command begins with.

/// Whether every address of a list has a host and a port (`ToolsUtils.validateBootstrapServer`). Errors in Kafka's words.
pub fn validate_bootstrap_server(list: Option<&str>) -> Result<(), &'static str> {
    let list = list.unwrap_or_default();
    if list.trim().is_empty() {
        return Err("Error while validating the bootstrap address\n");
    }
    // As Java splits: nothing is left of empty texts at the end.
    let addresses = list.trim_end_matches(',');
    if addresses.is_empty() || !addresses.split(',').all(has_port) {
        return Err("Please provide valid host:port like host1:9091,host2:9092\n");
    }
    Ok(())
}

fn has_port(address: &str) -> bool {
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-%._".contains(c);
    let rest = match address.split_once("://") {
        Some((scheme, rest)) if scheme.chars().all(is_host) => rest,
        _ => address,
    };
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    host.chars().all(|c| is_host(c) || c == ':') && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_need_ports() {
        for good in ["localhost:9092", "a:1,b-c.d:2", "[::1]:9092", "PLAINTEXT://a:1", "a:1,", ":9092"] {
            assert_eq!(validate_bootstrap_server(Some(good)), Ok(()), "{good}");
        }
        for bad in ["localhost", "a:1,b", "a:x", "a:", ",", "a b:1", "a:1,,b:2"] {
            let error = validate_bootstrap_server(Some(bad)).expect_err(bad);
            assert!(error.starts_with("Please provide valid host:port"), "{bad}");
        }
        assert!(validate_bootstrap_server(None).expect_err("nothing").starts_with("Error while validating"));
    }
}
