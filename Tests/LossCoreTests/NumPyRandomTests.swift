import XCTest

@testable import LossCore

final class NumPyRandomTests: XCTestCase {
    /// The C++ standard's own check of its mt19937: what the generator gives at its default seed.
    func testWordsOfTheStandard() {
        var generator = MT19937(seed: 5489)
        XCTAssertEqual(generator.next(), 3_499_211_612)
        for _ in 2..<10_000 { _ = generator.next() }
        XCTAssertEqual(generator.next(), 4_123_659_995)
    }

    func testGoesOnFromAState() throws {
        var generator = MT19937(seed: 3)
        for _ in 0..<700 { _ = generator.next() }
        var copy = try MT19937(key: generator.key, position: generator.position)
        for _ in 0..<700 { XCTAssertEqual(generator.next(), copy.next()) }
        XCTAssertThrowsError(try MT19937(key: generator.key, position: 625))
        XCTAssertThrowsError(try MT19937(key: [], position: 0))
    }

    /// numpy.random.seed(0); numpy.random.permutation(10)
    func testPermutationOfNumPy() {
        var items: [Int32] = Array(0..<10)
        var generator = MT19937(seed: 0)
        items.withUnsafeMutableBufferPointer { generator.shuffle($0) }
        XCTAssertEqual(items, [2, 8, 4, 9, 1, 6, 7, 3, 0, 5])
    }
}
