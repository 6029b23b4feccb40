//! Makes diff streams v1 byte by byte. Not the product's writer: that one is not trusted here.

/// A stream in the making.
pub struct Stream(Vec<u8>);

impl Stream {
    pub fn new(size: u64) -> Self {
        let mut bytes = b"rbd diff v1\n".to_vec();
        bytes.push(b's');
        bytes.extend(size.to_le_bytes());
        Self(bytes)
    }

    pub fn write(mut self, offset: u64, data: &[u8]) -> Self {
        self.0.push(b'w');
        self.0.extend(offset.to_le_bytes());
        self.0.extend((data.len() as u64).to_le_bytes());
        self.0.extend(data);
        self
    }

    pub fn zero(mut self, offset: u64, length: u64) -> Self {
        self.0.push(b'z');
        self.0.extend(offset.to_le_bytes());
        self.0.extend(length.to_le_bytes());
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.push(b'e');
        self.0
    }

    pub fn torn(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes that do not repeat and differ from seed to seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| step().to_le_bytes()).take(length).collect()
}
