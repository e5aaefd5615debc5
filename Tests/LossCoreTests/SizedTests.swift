import XCTest

@testable import LossCore

/// The options of a first version, and of a third: both begin with their size.
private struct First: Sized, Equatable {
    var structSize = UInt32(MemoryLayout<First>.size)
    var variant: Int32 = 0
    var eps = 1e-6
}

private struct Third: Sized, Equatable {
    static var earlierSizes: [Int] { [16, 24] }

    var structSize = UInt32(MemoryLayout<Third>.size)
    var variant: Int32 = 0
    var eps = 1e-6
    var second = 2.0
    var third: Int32 = 3
    var reserved: Int32 = 0
}

/// Callers of older and newer versions of a struct than the library's, whose memory ends where their version does.
final class SizedTests: XCTestCase {
    /// What the library of Third's version makes of a struct of `bytes`, behind which lies what is no option of anybody's.
    private func read(_ bytes: [UInt8]) -> Result<Third, LossError> {
        let memory = bytes + [UInt8](repeating: 0xA5, count: 64)
        return memory.withUnsafeBytes { memory in
            let pointer = memory.baseAddress!.assumingMemoryBound(to: Third.self)
            return Result { () throws(LossError) in try options("options", pointer, Third()) }
        }
    }

    private func bytes(_ value: some Sized) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    func testAnOlderCallerGetsTheDefaultsOfWhatItLacks() throws {
        let first = try read(bytes(First(variant: 7, eps: 0.5))).get()
        XCTAssertEqual(first, Third(structSize: 16, variant: 7, eps: 0.5))

        var second = Array(bytes(Third(variant: 7, eps: 0.5, second: -1)).prefix(24))
        second[0] = 24
        XCTAssertEqual(try read(second).get(), Third(structSize: 24, variant: 7, eps: 0.5, second: -1))
    }

    func testACallerOfThisVersion() throws {
        let own = Third(variant: 1, eps: 2, second: 3, third: 4)
        XCTAssertEqual(try read(bytes(own)).get(), own)
        XCTAssertEqual(try options("options", nil, own), own)
    }

    func testANewerCallerMayAskForNothingMore() throws {
        for size in [UInt8(33), 40, 64] {
            var newer = bytes(Third(second: 5)) + [UInt8](repeating: 0, count: Int(size) - 32)
            newer[0] = size
            XCTAssertEqual(try read(newer).get().second, 5)
            newer[Int(size) - 1] = 1
            guard case .failure(let error) = read(newer) else {
                return XCTFail("an option that this version lacks was taken")
            }
            XCTAssertEqual(error.status, .structSize)
        }
    }

    func testASizeThatNoVersionHad() throws {
        for size in 0..<32 where size != 16 && size != 24 {
            var options = bytes(Third())
            options[0] = UInt8(size)
            guard case .failure(let error) = read(options) else { return XCTFail("\(size) bytes were taken") }
            XCTAssertEqual(error.status, .structSize)
            try options.withUnsafeMutableBytes { memory in
                XCTAssertThrowsError(try check(parts: memory.baseAddress!.assumingMemoryBound(to: Third.self)))
            }
        }
    }

    func testPartsAreFilledAsFarAsTheCallerKnowsThem() throws {
        for size in [16, 24, 32, 40] {
            var memory = [UInt8](repeating: 0xA5, count: 64)
            memory.replaceSubrange(0..<4, with: [UInt8(size), 0, 0, 0])
            try memory.withUnsafeMutableBytes { memory in
                let parts = memory.baseAddress!.assumingMemoryBound(to: Third.self)
                try check(parts: parts)
                write(Third(structSize: 0, variant: 1, eps: 2, second: 3, third: 4), to: parts)
            }
            let filled = bytes(Third(structSize: UInt32(size), variant: 1, eps: 2, second: 3, third: 4))
            XCTAssertEqual(Array(memory.prefix(min(size, 32))), Array(filled.prefix(size)))
            XCTAssertEqual(Array(memory[min(size, 32)...]), [UInt8](repeating: 0xA5, count: 64 - min(size, 32)))
        }
    }
}
