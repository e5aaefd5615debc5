import CSystem
import XCTest

@testable import LossCore

final class ThreadPoolTests: XCTestCase {

    private static func runAll(_ count: Int) -> [Int64] {
        let counts = UnsafeMutablePointer<Int64>.allocate(capacity: count)
        counts.initialize(repeating: 0, count: count)
        defer { counts.deallocate() }
        Threads.run(
            count, { context, index in csystem_add(context!.assumingMemoryBound(to: Int64.self) + Int(index), 1) },
            counts)
        return Array(UnsafeBufferPointer(start: counts, count: count))
    }

    func testEveryTaskRunsOnce() {
        for count in [0, 1, 2, 3, 17, 64] {
            for _ in 0..<200 { XCTAssertEqual(Self.runAll(count), [Int64](repeating: 1, count: count)) }
        }
    }

    func testShutdownAndAgain() {
        for _ in 0..<20 {
            XCTAssertEqual(Self.runAll(4), [1, 1, 1, 1])
            Threads.shutdown()
        }
        Threads.shutdown()
        XCTAssertEqual(Self.runAll(4), [1, 1, 1, 1])
    }

    func testCountIsSettable() {
        let before = Threads.count
        Threads.count = 3
        XCTAssertEqual(Threads.count, 3)
        Threads.count = 0
        XCTAssertEqual(Threads.count, before)
    }
}
