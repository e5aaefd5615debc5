import CSystem
import KernelTable

/// What the boundary loss keeps of a strip of rows while it goes through them once: planes of keys, boundaries and windows, and
/// the way back from windows to their largest.
extension BoundaryLoss {
    /// Planes with all rows of a strip.
    enum Slot: Int {
        /// The classes' boundaries as keys, as bits, and what is near them.
        case classes, bits, near
        /// What goes to b and on to v: of small windows row by row.
        case toEdges, toKeys
        case rows
        /// p, 1 − p and dL/dp of the classes follow.
        case planes

        static var count: Int { planes.rawValue }
    }

    /// Planes of one class, with the rows that are in use.
    enum RingSlot: Int, CaseIterable {
        /// Keys of v, and their windows along rows; those of b; where their largest stand.
        case keys, rowLargest, rowCodes, columnCodes
        case edges, edgeRowLargest, edgeRowCodes, edgeColumnCodes
        /// The truth, and what goes from there to b.
        case truth, edgeGradient
        /// Codes of large windows.
        case planeCodes, otherPlaneCodes

        // What is done with before the first class.
        /// Labels as keys, and their windows along rows; those of bits.
        static let (up, upRowLargest, down, downRowLargest) = (keys, rowLargest, edges, edgeRowLargest)
        static let bitsRow = rowLargest
    }

    /// Rows of their slot.
    enum Row: Int {
        case largest, otherLargest, routed
        case prefix, prefixCodes, otherPrefix, otherPrefixCodes
        /// What large windows have to hand on.
        case toEdgesSums, toEdgesPlaces, toKeysSums, toKeysPlaces
        /// As many as a kernel may take.
        case line
        case codeLine = 19
    }

    /// A strip with the rows around it, which are numbered from 0.
    struct Strip {
        let loss: BoundaryLoss
        let b: Block
        /// The rows that are there, and the first of the image's.
        let all: Range<Int>
        let first: Int
        let ring: Ring

        init(_ loss: BoundaryLoss, _ b: Block, halo: Int) {
            let rows = b.rows(withHalo: halo)
            (self.loss, self.b, all, first, ring) = (loss, b, 0..<rows.count, rows.lowerBound, loss.ring(rows.count))
        }

        var kernels: Kernels { b.kernels }
        /// Elements of a row, with the zeros that it is padded with, and those that there are.
        var n: Int { b.rowPitch }
        var width: Int { loss.rows.width }
        var ignored: Double { loss.options.ignored.map { Double($0) } ?? .nan }

        func rows(_ halo: Int) -> Range<Int> {
            let rows = b.rows(withHalo: halo)
            return rows.lowerBound - first..<rows.upperBound - first
        }

        func plane(_ slot: Slot) -> UnsafeMutableRawPointer { b.temporary(slot.rawValue) }
        func plane(_ slot: RingSlot) -> UnsafeMutableRawPointer { b.ring(slot.rawValue) }
        func row(_ slot: Slot, _ l: Int) -> UnsafeMutableRawPointer { plane(slot) + l * b.rowBytes }
        func row(_ slot: RingSlot, _ l: Int) -> UnsafeMutableRawPointer { plane(slot) + ring[l] * b.rowBytes }
        func row(_ row: Row) -> UnsafeMutableRawPointer { plane(.rows) + row.rawValue * b.rowBytes }
        func label(_ l: Int) -> UnsafeRawPointer { b.input(loss.classes) + l * b.rowBytes }

        // MARK: p and 1 − p

        private func plane(_ i: Int, _ l: Int) -> UnsafeMutableRawPointer {
            b.temporary(Slot.count + i) + l * b.rowBytes
        }
        func p(_ c: Int, _ l: Int) -> UnsafeRawPointer {
            loss.options.fromProbabilities ? b.input(c) + l * b.rowBytes : UnsafeRawPointer(plane(c, l))
        }
        /// nil: to be subtracted.
        func q(_ c: Int, _ l: Int) -> UnsafeMutableRawPointer? {
            loss.options.fromProbabilities ? nil : plane(loss.classes + c, l)
        }
        /// Where dL/dp goes: rows of the strip itself.
        func gradient(_ c: Int, _ l: Int) -> UnsafeMutableRawPointer {
            let l = l - rows(0).lowerBound
            return loss.options.fromProbabilities ? b.output(c) + l * b.rowBytes : plane(2 * loss.classes + c, l)
        }

        func softmax() {
            guard !loss.options.fromProbabilities else { return }
            // The gradient's planes are scratch until then: of 32 rows at least, which is room for two more of a tile.
            kernels.softmax(
                b.inputs(from: 0), loss.classes, plane(2 * loss.classes, 0), plane(0, 0), plane(loss.classes, 0),
                b.pitch, all.count * n)
        }

        func softmaxGradient() {
            guard !loss.options.fromProbabilities else { return }
            let l = rows(0).lowerBound
            kernels.softmax_gradient(
                p(0, l), plane(loss.classes, l), gradient(0, l), loss.classes, b.pitch, b.outputs(from: 0),
                rows(0).count * n)
        }

        /// Row l of v as keys.
        func makeKeys(_ c: Int, _ l: Int) {
            let labels = loss.options.ignored == nil ? nil : label(l)
            kernels.boundary_keys(p(c, l), q(c, l), labels, ignored, width, row(.keys, l), n)
        }

        // MARK: Windows

        func columns(
            _ plane: RingSlot, _ rows: Range<Int>, _ windows: Windows, kind: ColumnWindows.Kind = .largest,
            prefix: Row = .prefix, codes: (prefix: Row, plane: RingSlot)? = nil
        ) -> ColumnWindows {
            ColumnWindows(
                kind: kind, b: b, plane: self.plane(plane), ring: ring, rows: rows, radius: windows.column,
                prefix: row(prefix), prefixCodes: codes.map { row($0.prefix) },
                planeCodes: codes.map { self.plane($0.plane) })
        }

        // MARK: The way back

        /// The way from windows to their largest: where these stand, and where what comes there goes.
        struct Route {
            let windows: Windows
            let codes: (row: RingSlot, column: RingSlot)
            let g: RingSlot
            let out: Slot
            let sums, places: Row
        }

        var toEdges: Route {
            Route(
                windows: loss.outer, codes: (row: .edgeRowCodes, column: .edgeColumnCodes), g: .truth, out: .toEdges,
                sums: .toEdgesSums, places: .toEdgesPlaces)
        }
        var toKeys: Route {
            Route(
                windows: loss.inner, codes: (row: .rowCodes, column: .columnCodes), g: .edgeGradient, out: .toKeys,
                sums: .toKeysSums, places: .toKeysPlaces)
        }

        func start(_ route: Route) {
            guard route.windows.hasRuns else { return }
            memset(plane(route.out), 0, all.count * b.rowBytes)
            memset(row(route.sums), 0, b.rowBytes)
            memset(row(route.places), 0, b.rowBytes)
        }

        /// Takes row l of g, the one after the last.
        func take(_ route: Route, _ l: Int) {
            guard route.windows.hasRuns else {
                let size = 2 * route.windows.column + 1
                ring.close(plane(route.codes.column), l, window: size, pitch: b.rowBytes)
                ring.close(plane(route.g), l, window: size, pitch: b.rowBytes)
                return
            }
            kernels.column_runs(
                row(route.codes.column, l), row(route.g, l), row(route.sums), row(route.places), plane(route.out),
                b.rowBytes, n)
        }

        /// What comes to row l from windows centred on `source`, of which all that see it were taken.
        func collect(_ route: Route, _ source: Range<Int>, _ l: Int, to result: Row) {
            let windows = route.windows
            let out = windows.hasRuns ? row(route.out, l) : plane(route.out)
            if windows.hasRuns {
                kernels.column_runs_end(row(route.sums), row(route.places), l, out, n)
            } else {
                let first = max(l - windows.column, source.lowerBound)
                let last = min(l + windows.column, source.upperBound - 1)
                kernels.column_route(
                    row(route.codes.column, first), row(route.g, first), b.rowBytes, last - first + 1, l, out, n)
            }
            if windows.scattersRows {
                memset(row(result), 0, b.rowBytes)
                kernels.row_scatter(row(route.codes.row, l), out, row(result), n)
            } else {
                kernels.row_route(
                    row(route.codes.row, l), out, windows.row, row(.line), row(.codeLine), row(result), n)
            }
        }
    }
}
