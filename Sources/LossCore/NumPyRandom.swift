import KernelTable

/// The Mersenne Twister MT19937 and numpy's legacy way of drawing with it: `numpy.random.seed` and
/// `numpy.random.choice(n, size, replace=False)`, number for number.
///
/// Source: Matsumoto and Nishimura 1998, Mersenne Twister; the stream is the one that numpy guarantees for
/// `RandomState`.
public struct MT19937: Sendable {
    public static let words = 624

    /// `words` of them.
    public private(set) var key: [UInt32]
    /// The next word to hand out: 0 … words.
    public private(set) var position: Int

    public init(seed: UInt32) {
        key = [seed]
        for i in 1..<Self.words {
            let last = key[i - 1]
            key.append(1_812_433_253 &* (last ^ (last >> 30)) &+ UInt32(i))
        }
        position = Self.words
    }

    public init(key: [UInt32], position: Int) throws(LossError) {
        guard key.count == Self.words, (0...Self.words).contains(position) else {
            throw LossError(.option, "generator: expected a position from 0 to \(Self.words), got \(position)")
        }
        (self.key, self.position) = (key, position)
    }

    mutating func next() -> UInt32 {
        if position == Self.words {
            for i in 0..<Self.words {
                let y = (key[i] & 0x8000_0000) | (key[(i + 1) % Self.words] & 0x7FFF_FFFF)
                key[i] = key[(i + 397) % Self.words] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_B0DF)
            }
            position = 0
        }
        var y = key[position]
        position += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C_5680
        y ^= (y << 15) & 0xEFC6_0000
        return y ^ (y >> 18)
    }

    /// A whole number from 0 to `last`: words cut to as many bits until one is not too large.
    private mutating func draw(upTo last: UInt32) -> Int {
        if last == 0 { return 0 }
        let mask = UInt32.max >> UInt32(last.leadingZeroBitCount)
        while true {
            let value = next() & mask
            if value <= last { return Int(value) }
        }
    }

    /// Shuffles what is there: the first of them are then a choice without replacement. Fewer than 2^32.
    mutating func shuffle(_ items: UnsafeMutableBufferPointer<Int32>) {
        for i in stride(from: items.count - 1, to: 0, by: -1) {
            items.swapAt(i, draw(upTo: UInt32(i)))
        }
    }
}
