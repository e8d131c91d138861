//! Where this process lives: in a container or not, behind which gateway, under which name.

use std::net::{IpAddr, Ipv4Addr};

/// Files that container engines put into every container.
const CONTAINER_MARKERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// The address through which a container reaches what is outside of its network, and from which connections to published
/// ports come; `None` outside of containers and where there is none.
#[expect(clippy::disallowed_methods, reason = "the system's, and not the broker's data")]
pub fn container_gateway() -> Option<IpAddr> {
    let is_container = CONTAINER_MARKERS.iter().any(|path| std::path::Path::new(path).exists());
    let routes = std::fs::read_to_string("/proc/net/route").ok().filter(|_| is_container)?;
    default_gateway(&routes).map(IpAddr::V4)
}

/// The gateway of the first default route of `/proc/net/route`: interface, destination, gateway, flags …, addresses in
/// hexadecimal as they lie in memory.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// The name of this machine or container.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let local = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let expected = u32::from_str_radix("010011AC", 16).map(|number| Ipv4Addr::from(number.to_ne_bytes())).ok();
        assert_eq!(default_gateway(&format!("{head}{local}{default}")), expected);
        assert_eq!(default_gateway(&format!("{head}{local}")), None);
        for broken in ["", head, "x\n\n", "x\neth0 00000000 zz", "x\neth0"] {
            assert_eq!(default_gateway(broken), None);
        }
        if cfg!(target_endian = "little") {
            assert_eq!(expected, Some(Ipv4Addr::new(172, 17, 0, 1)));
        }
        assert!(!host_name().is_empty());
    }
}
