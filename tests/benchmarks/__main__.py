"""``python -m tests.benchmarks [--only NAME[,NAME]] [--write-docs]``: one JSON line a figure.

The exit status is 0 when the benchmarks ran, whatever they show; 2 for a name that no benchmark has.
"""

import argparse
import importlib
import json
import os
import sys
from typing import Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""onnxruntime, as a peer too, reports to nobody; benchmarks are imported when they run."""

FIGURES: Final[dict[str, str]] = {
    "fanout_20mb_50_devices_mb_s": "tests.benchmarks.bench_fanout",
    "fanout_20mb_50_devices_mosquitto_mb_s": "tests.benchmarks.bench_fanout",
    "transfer_100mb_1_s": "tests.benchmarks.bench_transfer",
    "transfer_100mb_20_s": "tests.benchmarks.bench_transfer",
    "transfer_100mb_100_s": "tests.benchmarks.bench_transfer",
    "transfer_vs_stop_and_wait": "tests.benchmarks.bench_transfer",
    "runner_overhead_us": "tests.benchmarks.bench_runner",
    "runner_isolated_overhead_us": "tests.benchmarks.bench_runner",
    "swap_frames_dropped": "tests.benchmarks.bench_swap",
    "swap_gap_ms": "tests.benchmarks.bench_swap",
    "swap_p99_ratio": "tests.benchmarks.bench_swap",
    "monitor_cost_us": "tests.benchmarks.bench_monitor",
    "window_bytes": "tests.benchmarks.bench_windows",
    "merge_1000_ms": "tests.benchmarks.bench_windows",
    "drift_delay_5_15": "tests.benchmarks.bench_drift",
    "drift_delay_5_10": "tests.benchmarks.bench_drift",
    "false_alarms_10k_rho0": "tests.benchmarks.bench_drift",
    "false_alarms_10k_rho09": "tests.benchmarks.bench_drift",
    "confidence_shift_delay_ratio": "tests.benchmarks.bench_drift",
    "supervisor_rss_mb": "tests.benchmarks.bench_memory",
    "agent_rss_mb": "tests.benchmarks.bench_memory",
    "supervisor_pss_mb": "tests.benchmarks.bench_pss",
    "agent_pss_mb": "tests.benchmarks.bench_pss",
    "tuf_check_bytes": "tests.benchmarks.bench_trust",
    "tuf_release_bytes": "tests.benchmarks.bench_trust",
    "tuf_first_contact_bytes": "tests.benchmarks.bench_trust",
    "assignments_10k_s": "tests.benchmarks.bench_assignments",
    "report_verify_us": "tests.benchmarks.bench_assignments",
    "verify_100mb_cpu_s": "tests.benchmarks.bench_verify",
    "power_loss_runs": "tests.benchmarks.bench_power_loss",
    "power_loss_bricks": "tests.benchmarks.bench_power_loss",
    "power_loss_waste_chunks": "tests.benchmarks.bench_power_loss",
    "delta_ratio_head": "tests.benchmarks.bench_delta",
    "blob_memory_mb": "tests.benchmarks.bench_blob_memory",
    "fuzz_inputs": "tests.benchmarks.bench_fuzz",
    "silent_fallback_accepted": "tests.benchmarks.bench_fallback",
    "restart_to_connected_s": "tests.benchmarks.bench_restart",
    "rollback_s": "tests.benchmarks.bench_restart",
    "cell_latency_ms": "tests.benchmarks.bench_cell",
    "cell_cpu_ms": "tests.benchmarks.bench_cell",
    "outbox_online_mb_day": "tests.benchmarks.bench_outbox",
    "outbox_offline_mb_month": "tests.benchmarks.bench_outbox",
    "backlog_live_p99_s": "tests.benchmarks.bench_outbox",
    "power_loss_kill_runs": "tests.benchmarks.bench_kills",
    "power_loss_kill_bricks": "tests.benchmarks.bench_kills",
    "power_loss_kill_waste_chunks": "tests.benchmarks.bench_kills",
    "benign_rebuilds_of_20": "tests.benchmarks.bench_verdicts",
    "harmful_rebuilds_of_20": "tests.benchmarks.bench_verdicts",
    "label_free_mae_ratio": "tests.benchmarks.bench_labelfree",
    "concept_labels_10": "tests.benchmarks.bench_labelfree",
    "concept_labels_25": "tests.benchmarks.bench_labelfree",
    "loop_fires_of_20": "tests.benchmarks.bench_loop",
    "alarm_to_queued_s": "tests.benchmarks.bench_loop",
    "drift_to_fixed_s": "tests.benchmarks.bench_demo",
    "health_page_10k_cpu_s": "tests.benchmarks.bench_health",
    "compile_models_table": "tests.benchmarks.bench_compile",
    "compile_pareto_losses": "tests.benchmarks.bench_compile",
    "compile_9mb_3_targets_s": "tests.benchmarks.bench_compile_time",
    "compile_real_3_targets_s": "tests.benchmarks.bench_compile_time",
    "compile_unchanged_s": "tests.benchmarks.bench_compile_time",
    "planted_faults_missed": "tests.benchmarks.bench_planted_faults",
    "network_loss_1_time_ratio": "tests.benchmarks.bench_networks",
    "network_loss_1_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_loss_5_time_ratio": "tests.benchmarks.bench_networks",
    "network_loss_5_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_loss_20_time_ratio": "tests.benchmarks.bench_networks",
    "network_loss_20_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_delay_500ms_time_ratio": "tests.benchmarks.bench_networks",
    "network_delay_500ms_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_64kbit_time_ratio": "tests.benchmarks.bench_networks",
    "network_64kbit_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_partitions_time_ratio": "tests.benchmarks.bench_networks",
    "network_partitions_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_restarts_time_ratio": "tests.benchmarks.bench_networks",
    "network_restarts_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_https_loss_5_time_ratio": "tests.benchmarks.bench_networks",
    "network_https_loss_5_bytes_ratio": "tests.benchmarks.bench_networks",
    "network_https_partitions_time_ratio": "tests.benchmarks.bench_networks",
    "network_https_partitions_bytes_ratio": "tests.benchmarks.bench_networks",
}
"""Every figure and the module that measures it; a module that measures several runs once."""


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help="just these figures")
    parser.add_argument("--write-docs", action="store_true", help="keep the table of compiled models in docs")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.only.split(",") if name] or list(FIGURES)
    if unknown := [name for name in wanted if name not in FIGURES]:
        print(f"No figure is named {', '.join(unknown)}. There are: {', '.join(FIGURES)}.", file=sys.stderr)
        return 2
    rows = []
    for module in dict.fromkeys(FIGURES[name] for name in wanted):
        for row in importlib.import_module(module).run():
            if row["name"] in wanted:
                print(json.dumps(row), flush=True)
                rows.append(row)
    if arguments.write_docs:
        importlib.import_module("tests.benchmarks.compiled_models_page").write(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
