import CSystem
import KernelTable
import XCTest

@testable import LossCore

/// Windows of every size against a plain loop, and the way back.
final class WindowsTests: XCTestCase {
    private let sizes = [1, 3, 5, 7, 9, 11, 13, 15, 17, 31, 33, 47, 63, 101]

    /// Whole numbers of few values, so that windows tie; −1 is outside.
    private func plane(_ height: Int, _ width: Int, pitch: Int, _ random: inout Random) -> [Int32] {
        (0..<height * pitch).map {
            $0 % pitch < width && random.uniform() < 0.9 ? Int32.random(in: 0...3, using: &random) : -1
        }
    }

    private func at(_ level: InstructionSet) -> Kernels { execution(level).table.pointee.f32 }

    func testRowsOfEverySize() throws {
        var random = Random(1)
        for width in [1, 2, 15, 33, 90] {
            let pitch = Sweep.padded(width)
            let row = plane(1, width, pitch: pitch, &random)
            for size in sizes {
                let radius = min(size / 2, width - 1)
                var best = [Int32]()
                var first = [Int32]()
                var union = [Int32]()
                for x in 0..<width {
                    let window = (-radius...radius).map { row.indices.contains(x + $0) ? row[x + $0] : -1 }
                    best.append(window.max()!)
                    first.append(Int32(window.firstIndex(of: window.max()!)! - radius))
                    union.append(window.reduce(0) { $0 | ($1 < 0 ? 0 : $1) })
                }
                // What the kernels may use, and what they have to leave.
                let used = pitch + 2 * radius + 128
                let scratch = [Int32](repeating: 77, count: used + 64)
                for level in levels {
                    let kernels = at(level)
                    let (line, codeLine, out, codes) = (
                        Buffer(scratch), Buffer(scratch), Buffer(scratch), Buffer(scratch)
                    )
                    defer {
                        for (buffer, count) in [(line, used), (codeLine, used), (out, pitch), (codes, pitch)] {
                            XCTAssert(buffer.values[count...].allSatisfy { $0 == 77 }, "\(size) of \(width)")
                        }
                    }
                    let input = Buffer(row)
                    func run(_ codes: Buffer<Int32>?) {
                        kernels.row_max(
                            input.memory.baseAddress!, radius, line.memory.baseAddress!, codeLine.memory.baseAddress!,
                            out.memory.baseAddress!, codes?.memory.baseAddress, pitch)
                    }
                    run(nil)
                    XCTAssertEqual(Array(out.values[..<width]), best, "\(size) of \(width) at \(level.name)")
                    run(codes)
                    XCTAssertEqual(Array(out.values[..<width]), best)
                    for x in 0..<width where best[x] >= 0 {
                        XCTAssertEqual(codes.memory[x], first[x], "\(size) of \(width) at \(x), \(level.name)")
                    }
                    let bits = Buffer(row.map { max($0, 0) })
                    kernels.row_or(
                        bits.memory.baseAddress!, radius, line.memory.baseAddress!, out.memory.baseAddress!, pitch)
                    XCTAssertEqual(Array(out.values[..<width]), union)
                }
            }
        }
    }

    /// Through a sweep, since large windows need its slots; strips have to agree with the whole. Of a plane no more rows are
    /// there than windows take.
    func testColumnsOfEverySize() throws {
        var random = Random(2)
        let (height, width) = (41, 7)
        let values = (0..<height * width).map { _ in Float(Int.random(in: 0...3, using: &random)) }
        let buffer = Buffer(values)
        let tensor = buffer.tensor("x", .f32, [1, height, width])
        for size in sizes {
            let windows = Windows(size, height: height, width: width)
            var best = [Float]()
            var first = [Int]()
            for y in 0..<height {
                for x in 0..<width {
                    let rows = max(0, y - windows.column)...min(height - 1, y + windows.column)
                    let top = rows.map { values[$0 * width + x] }.max()!
                    best.append(top)
                    first.append(rows.first { values[$0 * width + x] == top }!)
                }
            }
            for strip in [1, 5, height] {
                let rows = Rows(height: height, width: width, strip: strip)
                var found = [Float](repeating: -1, count: best.count)
                var foundFirst = [Int](repeating: -1, count: best.count)
                let sweep = Sweep(
                    execution(), inputs: [Operand(tensor, halo: windows.column)], like: tensor, groups: 1, rows: rows,
                    temporaries: 4, rings: 2, ringRows: Ring(least: 2 * windows.column + 1, rows: height).count)
                try sweep.run { b in
                    let loaded = b.rows(withHalo: windows.column)
                    let ring = Ring(least: 2 * windows.column + 1, rows: loaded.count)
                    let columns = ColumnWindows(
                        kind: .largest, b: b, plane: b.ring(0), ring: ring, rows: 0..<loaded.count,
                        radius: windows.column, prefix: b.temporary(0), prefixCodes: b.temporary(1),
                        planeCodes: b.ring(1))
                    let start = b.rows.lowerBound - loaded.lowerBound
                    var stage = Stage(start..<start + b.rows.count, radius: windows.column)
                    for l in 0..<loaded.count {
                        memcpy(b.ring(0) + ring[l] * b.rowBytes, b.row(l, of: b.input(0)), b.rowBytes)
                        columns.take(l)
                        while let l = stage.next(after: l, of: 0..<loaded.count) {
                            columns.window(l, to: b.temporary(2), codes: b.temporary(3))
                            let place = (l + loaded.lowerBound) * width
                            for x in 0..<width {
                                found[place + x] = b.temporary(2).load(fromByteOffset: x * 4, as: Float.self)
                                foundFirst[place + x] =
                                    Int(b.temporary(3).load(fromByteOffset: x * 4, as: Int32.self)) + loaded.lowerBound
                            }
                        }
                    }
                }
                XCTAssertEqual(found, best, "\(size), strips of \(rows.strip)")
                XCTAssertEqual(foundFirst, first, "\(size), strips of \(rows.strip)")
            }
        }
    }

    /// Where the first of the largest stands in each window of a line.
    private func places(_ line: [Int32], _ radius: Int) -> [Int] {
        line.indices.map { i in
            let window = max(0, i - radius)...min(line.count - 1, i + radius)
            return window.first { line[$0] == line[window].max() }!
        }
    }

    /// Small whole numbers, of which some are 0.
    private func draw(_ count: Int, _ random: inout Random) -> [Float] {
        (0..<count).map { _ in Float(Int.random(in: -3...3, using: &random)) }
    }

    func testTheWayBackAlongRows() throws {
        var random = Random(3)
        for width in [1, 17, 70] {
            let pitch = Sweep.padded(width)
            let padding = pitch - width
            for radius in [0, 1, 2, 6, 30] {
                let places = places(Array(plane(1, width, pitch: pitch, &random)[..<width]), radius)
                let g = draw(width, &random)
                var expected = [Float](repeating: 0, count: width)
                for x in 0..<width { expected[places[x]] += g[x] }
                let offsets = places.enumerated().map { Int32($1 - $0) }
                for level in levels {
                    let kernels = at(level)
                    let (line, codeLine) = (
                        Buffer([Int32](repeating: 77, count: 3 * pitch + 128)),
                        Buffer([Int32](repeating: 77, count: 3 * pitch + 128))
                    )
                    let codes = Buffer(offsets + [Int32](repeating: 0, count: padding))
                    let g = Buffer(g + [Float](repeating: 0, count: padding))
                    let gathered = Buffer([Float](repeating: 7, count: pitch))
                    kernels.row_route(
                        codes.memory.baseAddress!, g.memory.baseAddress!, radius, line.memory.baseAddress!,
                        codeLine.memory.baseAddress!, gathered.memory.baseAddress!, pitch)
                    XCTAssertEqual(Array(gathered.values[..<width]), expected)
                    let scattered = Buffer([Float](repeating: 0, count: pitch))
                    kernels.row_scatter(
                        codes.memory.baseAddress!, g.memory.baseAddress!, scattered.memory.baseAddress!, pitch)
                    XCTAssertEqual(
                        Array(scattered.values[..<width]), expected, "\(radius) of \(width) at \(level.name)")
                }
            }
        }
    }

    func testTheWayBackAlongColumns() throws {
        var random = Random(4)
        let (height, width) = (41, 32)
        for radius in [1, 6, 30, 50] {
            var codes = [Int32](repeating: 0, count: height * width)
            for x in 0..<width {
                let column = plane(1, height, pitch: height, &random)
                for (y, place) in places(column, radius).enumerated() { codes[y * width + x] = Int32(place) }
            }
            // Rows, and columns, of which nothing comes.
            let g = draw(height * width, &random).enumerated().map { $0 / width % 9 < 3 || $0 % 5 == 0 ? 0 : $1 }
            var expected = [Float](repeating: 0, count: height * width)
            for i in g.indices { expected[Int(codes[i]) * width + i % width] += g[i] }
            for level in levels {
                let kernels = at(level)
                let (codes, g) = (Buffer(codes), Buffer(g))
                let out = Buffer([Float](repeating: 0, count: height * width))
                let sums = Buffer([Float](repeating: 0, count: width))
                let places = Buffer([Int32](repeating: 0, count: width))
                let bytes = width * 4
                func end(_ y: Int) {
                    kernels.column_runs_end(
                        sums.memory.baseAddress!, places.memory.baseAddress!, y,
                        UnsafeMutableRawPointer(out.memory.baseAddress!) + y * bytes, width)
                }
                for y in 0..<height {
                    kernels.column_runs(
                        UnsafeRawPointer(codes.memory.baseAddress!) + y * bytes,
                        UnsafeRawPointer(g.memory.baseAddress!) + y * bytes, sums.memory.baseAddress!,
                        places.memory.baseAddress!, out.memory.baseAddress!, bytes, width)
                    // As soon as no window sees the row any more.
                    if y >= radius { end(y - radius) }
                }
                for y in max(0, height - radius)..<height { end(y) }
                XCTAssertEqual(out.values, expected, "\(radius) at \(level.name)")
            }
        }
    }

    /// Keys sort as v does, and the difference of two nearly equal ones keeps its digits at either end.
    func testKeysOfTheBoundaryLoss() {
        for level in levels {
            let kernels = at(level)
            let small: [Float] = [0, .leastNonzeroMagnitude, 1e-30, 1.5e-30, 0.25, 0.499_999_97]
            let v = small + [0.5] + small.reversed().map { 1 - $0 } + [.nan]
            let p = small.map { 1 - $0 } + [0.5] + small.reversed() + [.nan]
            let count = v.count
            let n = 32
            func padded(_ values: [Float]) -> Buffer<Float> { Buffer(values + [Float](repeating: 0, count: n - count)) }
            let (q, c) = (padded(v), padded(p))
            let keys = Buffer([Int32](repeating: 7, count: n))
            kernels.boundary_keys(
                c.memory.baseAddress!, q.memory.baseAddress!, nil, .nan, count, keys.memory.baseAddress!, n)
            XCTAssertEqual(Array(keys.values[..<count]), Array(keys.values[..<count]).sorted())
            XCTAssertEqual(Set(keys.values[..<count]).count, count, "no two of them are one")
            XCTAssertEqual(Array(keys.values[count...]), [Int32](repeating: -1, count: n - count))
            // Of v = 1e-30 and its neighbour 1.5e-30; and of 1 − 1.5e-30 and 1 − 1e-30.
            for (low, high) in [(2, 3), (count - 5, count - 4)] {
                let pair = Buffer([Int32](repeating: keys.memory[low], count: n))
                let top = Buffer([Int32](repeating: keys.memory[high], count: n))
                let edges = Buffer([Int32](repeating: 7, count: n))
                kernels.boundary_edges(
                    pair.memory.baseAddress!, top.memory.baseAddress!, edges.memory.baseAddress!, n)
                let b = Float(bitPattern: UInt32(bitPattern: edges.memory[0]))
                XCTAssertEqual(b, 0.5e-30, accuracy: 1e-36)
            }
        }
    }
}
