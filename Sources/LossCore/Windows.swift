import CSystem
import KernelTable

/// The size of square windows: radii that are no larger than it takes to see all of an image.
struct Windows {
    let row: Int
    let column: Int
    /// From this size on the way back along rows goes one element after the other.
    private let scattering: Int

    /// Measured: 16 elements at a time are faster below 33, but where nearly all of what goes back is 0, which one element
    /// after the other skips.
    init(_ size: Int, height: Int, width: Int, isSparse: Bool = false) {
        row = min(size / 2, max(width - 1, 0))
        column = min(size / 2, max(height - 1, 0))
        scattering = isSparse ? 11 : 33
    }

    var scattersRows: Bool { 2 * row + 1 >= scattering }
    /// The way back along columns takes large windows in runs.
    var hasRuns: Bool { 2 * column + 1 > Int(KERNEL_WINDOW) }
}

/// Rows that a stage of a strip makes from those of the stage before, each as soon as the rows around it are there: what
/// a stage reads is then still in the cache.
struct Stage {
    let rows: Range<Int>
    let radius: Int
    private var row: Int

    init(_ rows: Range<Int>, radius: Int) {
        (self.rows, self.radius) = (rows, radius)
        row = rows.lowerBound
    }

    /// The next row, if `source`, of which all up to `last` are made, has what it needs.
    mutating func next(after last: Int, of source: Range<Int>) -> Int? {
        guard row < rows.upperBound, min(row + radius, source.upperBound - 1) <= last else { return nil }
        defer { row += 1 }
        return row
    }
}

/// Where a plane's rows are: in memory of a few, in which each takes the place of one that nothing reads any more. They stay in
/// the cache.
struct Ring {
    private let mask: Int
    /// Rows of the memory.
    let count: Int

    /// For so many rows, of which at least `least` are in use at once. Those of a small window follow each other: for that, the
    /// first ones of the memory stand behind the last as well.
    init(least: Int, rows: Int) {
        var turn = 1
        while turn < least { turn *= 2 }
        mask = rows > turn ? turn - 1 : -1
        count = rows > turn ? turn + Int(KERNEL_WINDOW) - 1 : rows
    }

    subscript(_ l: Int) -> Int { l & mask }

    /// Makes the second copy of row l, if windows of this size need one.
    func close(_ plane: UnsafeMutableRawPointer, _ l: Int, window size: Int, pitch: Int) {
        let place = self[l]
        guard mask >= 0, place < size - 1 else { return }
        memcpy(plane + (place + mask + 1) * pitch, plane + place * pitch, pitch)
    }
}

/// The windows of a plane's columns, whose rows come one after the other.
///
/// Large windows take three steps a row, whatever their size (van Herk 1992; Gil and Werman 1993): in blocks as long as a
/// window, each spans the end of one block and the start of the next.
struct ColumnWindows {
    enum Kind { case largest, union }

    let kind: Kind
    let b: Block
    /// Rows of large windows are overwritten.
    let plane: UnsafeMutableRawPointer
    let ring: Ring
    /// The rows that there are.
    let rows: Range<Int>
    let radius: Int
    /// Scratch of large windows: a row each, and where codes are wanted a row and a plane.
    let prefix: UnsafeMutableRawPointer
    let prefixCodes: UnsafeMutableRawPointer?
    let planeCodes: UnsafeMutableRawPointer?

    private var count: Int { b.rowPitch }
    private var pitch: Int { b.rowBytes }
    private var size: Int { 2 * radius + 1 }
    private var isLarge: Bool { size > Int(KERNEL_WINDOW) }

    private func row(_ l: Int) -> UnsafeMutableRawPointer { plane + ring[l] * pitch }
    private func codes(_ l: Int) -> UnsafeMutableRawPointer? { planeCodes.map { $0 + ring[l] * pitch } }
    private func blockStart(_ l: Int) -> Int { l - (l - rows.lowerBound) % size }

    private func merge(
        _ a: UnsafeRawPointer, _ aCodes: UnsafeRawPointer?, _ b: UnsafeRawPointer, _ bCodes: UnsafeRawPointer?,
        to out: UnsafeMutableRawPointer, _ codes: UnsafeMutableRawPointer?
    ) {
        switch kind {
        case .largest: self.b.kernels.merge_max(a, aCodes, b, bCodes, out, codes, count)
        case .union: self.b.kernels.merge_or(a, b, out, count)
        }
    }

    /// Takes row l, the one after the last.
    func take(_ l: Int) {
        guard isLarge else { return ring.close(plane, l, window: size, pitch: pitch) }
        if let codes = codes(l) { b.kernels.fill_whole(l, codes, count) }
        let start = blockStart(l)
        if l == start {
            memcpy(prefix, row(l), pitch)
            if let prefixCodes, let codes = codes(l) { memcpy(prefixCodes, codes, pitch) }
        } else {
            merge(prefix, prefixCodes, row(l), codes(l), to: prefix, prefixCodes)
        }
        // A whole block: each row becomes the window from there to its end.
        if l == start + size - 1 || l == rows.upperBound - 1 {
            for l in (start..<l).reversed() {
                merge(row(l), codes(l), row(l + 1), codes(l + 1), to: row(l), codes(l))
            }
        }
    }

    /// The window around row l, whose last row is the one that was taken last.
    func window(_ l: Int, to out: UnsafeMutableRawPointer, codes outCodes: UnsafeMutableRawPointer? = nil) {
        let first = max(l - radius, rows.lowerBound)
        let last = min(l + radius, rows.upperBound - 1)
        guard isLarge else {
            switch kind {
            case .largest: b.kernels.column_max(row(first), pitch, last - first + 1, first, out, outCodes, count)
            case .union: b.kernels.column_or(row(first), pitch, last - first + 1, out, count)
            }
            return
        }
        if first == blockStart(last) {
            memcpy(out, prefix, pitch)
            if let outCodes, let prefixCodes { memcpy(outCodes, prefixCodes, pitch) }
        } else if blockStart(first) == blockStart(last) {
            memcpy(out, row(first), pitch)
            if let outCodes, let codes = codes(first) { memcpy(outCodes, codes, pitch) }
        } else {
            merge(row(first), codes(first), prefix, prefixCodes, to: out, outCodes)
        }
    }
}
