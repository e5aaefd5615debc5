import XCTest

@testable import LossCore

/// Which views share memory, against the obvious answer: the sets of bytes.
final class AliasingTests: XCTestCase {
    private func bytes(_ tensor: Tensor) -> [Int] {
        (0..<tensor.count).flatMap { index in
            let first = Int(bitPattern: tensor.data) + tensor.offset(of: index) * tensor.type.bytes
            return first..<first + tensor.type.bytes
        }
    }

    func testAgainstSetsOfBytes() throws {
        var random = Random(1)
        let base = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
        var overlapping = 0
        var apart = 0
        for _ in 0..<4000 {
            func view() throws -> Tensor {
                let rank = Int.random(in: 0...3, using: &random)
                let shape = (0..<rank).map { _ in Int.random(in: 0...4, using: &random) }
                let strides = (0..<rank).map { _ in Int.random(in: -9...9, using: &random) }
                return try Tensor(
                    "x", data: base + Int.random(in: 0..<120, using: &random),
                    type: [.u8, .f16, .f32, .f64].randomElement(using: &random)!, shape: Extents(shape),
                    strides: Extents(strides))
            }
            let a = try view()
            let b = try view()
            let truth = !Set(bytes(a)).isDisjoint(with: bytes(b))
            XCTAssertEqual(a.overlaps(b), truth)
            truth ? (overlapping += 1) : (apart += 1)
            // It may refuse what does not overlap, but never the other way round.
            let places = (0..<a.count).map { a.offset(of: $0) }
            if Set(places).count < places.count { XCTAssertTrue(a.overlapsItself) }
        }
        XCTAssertGreaterThan(overlapping, 300)
        XCTAssertGreaterThan(apart, 300)
    }

    func testChannelsOfOneBufferAreApart() throws {
        let base = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
        let shape = Extents([8, 640, 640])
        let strides = Extents([3 * 640 * 640, 640, 1])
        let channels = try (0..<3).map {
            try Tensor("c", data: base + $0 * 640 * 640 * 4, type: .f32, shape: shape, strides: strides)
        }
        XCTAssertFalse(channels[0].overlaps(channels[1]))
        XCTAssertFalse(channels[0].overlapsItself)
        let interleaved = try (0..<3).map {
            try Tensor(
                "c", data: base + $0 * 4, type: .f32, shape: shape, strides: Extents([3 * 640 * 640, 3 * 640, 3]))
        }
        XCTAssertFalse(interleaved[0].overlaps(interleaved[2]))
        XCTAssertTrue(interleaved[0].overlaps(channels[0]))
    }
}
