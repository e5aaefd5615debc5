// swift-tools-version: 6.1
import PackageDescription

// Kernels are trusted code behind validated boundaries: no checks, one module at a time.
// -wmo keeps debug builds fast; -num-threads 1 is what the debug build needs with -wmo, and no batches, which it warns of;
// the builtin module has the fused multiply-add of a vector; without loop idioms no store becomes a call of memset.
let kernelFlags = [
    "-Ounchecked", "-wmo", "-num-threads", "1", "-disable-batch-mode", "-Xcc", "-fno-math-errno", "-Xllvm",
    "-disable-loop-idiom-all", "-Xfrontend", "-disable-all-autolinking", "-Xfrontend", "-enable-builtin-module",
]

func kernels(_ name: String, _ flags: [String] = []) -> Target {
    .target(name: name, dependencies: ["KernelTable"], swiftSettings: [.unsafeFlags(kernelFlags + flags)])
}

// What ships is Embedded Swift (`make`): less than half the size, nothing needed but libc and libm, loaded in a fraction of the
// time. Tests and other Swift packages use LossCore as it is otherwise, since they cannot import a module that is Embedded.
let isEmbedded = Context.environment["SEGLOSS_EMBEDDED"] == "1"
let coreSettings: [SwiftSetting] =
    isEmbedded
    ? [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-Xfrontend", "-function-sections"])] : []
// Embedded modules hold copies of what they import: the linker leaves one.
let linkerFlags =
    isEmbedded
    ? ["-lm", "-Xlinker", "--icf=all"] : ["-static-stdlib"]

#if arch(x86_64)
let kernelTargets = [
    kernels("LossKernels"),
    kernels("LossKernelsAVX2", ["-DAVX2", "-Xcc", "-march=x86-64-v3"]),
    // Strided elements are loaded and stored one by one: gathers and scatters take two to three times as long.
    kernels(
        "LossKernelsAVX512", ["-DAVX512", "-Xcc", "-march=x86-64-v4", "-Xcc", "-mno-gather", "-Xcc", "-mno-scatter"]),
]
#else
let kernelTargets = [kernels("LossKernels")]
#endif

let package = Package(
    name: "segloss",
    products: [
        .library(name: "segloss", type: .dynamic, targets: ["LossCAPI"]),
        .library(name: "LossCore", targets: ["LossCore"]),
        .library(name: "segloss_tensorflow", type: .dynamic, targets: ["TensorFlowOps"]),
    ],
    targets: [
        // The C interface: LossCAPI implements what include/losses.h declares.
        .systemLibrary(name: "CLosses", path: "include"),
        .target(name: "CXLA"),
        .target(
            name: "LossCAPI",
            dependencies: ["CLosses", "CXLA", "LossCore"],
            exclude: ["exports.map"],
            swiftSettings: coreSettings,
            // One self-contained library that exports segloss_* alone. lld comes with Swift; the other linkers leave local
            // names in the dynamic table.
            linkerSettings: [
                .unsafeFlags(linkerFlags + [
                    "-use-ld=lld",
                    "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/LossCAPI/exports.map",
                    "-Xlinker", "-soname=libsegloss.so.0",
                    "-Xlinker", "-z", "-Xlinker", "nodelete",
                ])
            ]),

        // TensorFlow's operations, in a library of their own: TensorFlow sees only what is registered while it loads one.
        .target(
            name: "TensorFlowOps",
            cSettings: [
                .headerSearchPath("../../include"),
                .unsafeFlags(["-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"]),
            ],
            linkerSettings: [.unsafeFlags(["-static-stdlib", "-nostartfiles", "-use-ld=lld", "-Xlinker", "--as-needed"])]),

        // The losses.
        .target(
            name: "LossCore",
            dependencies: ["CSystem", "KernelTable"] + kernelTargets.map { .byName(name: $0.name) },
            swiftSettings: coreSettings),

        // The inner loops, once per instruction set, and what they share.
        .target(name: "KernelTable"),
        .target(name: "CSystem"),

        .testTarget(name: "LossCoreTests", dependencies: ["LossCore"]),
    ] + kernelTargets
)
