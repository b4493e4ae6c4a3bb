//! The PROXY header: from octets and from a stream it is the same, and no octet behind it is touched.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proxy_protocol::{Parsed, parse, read_header};

fuzz_target!(|input: &[u8]| {
    let parsed = parse(input);
    let mut stream = input;
    let read = fuzz::run(read_header(&mut stream, Duration::from_secs(1)));
    match parsed {
        Ok(Parsed::Header { length, addresses }) => {
            assert_eq!(parse(&input[..length]), parsed, "what follows is not looked at");
            for end in (0..length).rev().take(300) {
                assert_eq!(parse(&input[..end]), Ok(Parsed::Incomplete), "{end}");
            }
            assert_eq!(read.expect("a header"), addresses);
            assert_eq!(stream.len(), input.len() - length, "exactly the header is read");
        }
        Ok(Parsed::Incomplete) | Err(_) => assert!(read.is_err()),
    }
});
