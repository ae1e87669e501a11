// What a commit costs in Go when nothing is locked, recovered or put into a database: journal line and marker only, as a
// straightforward program writes them. `straight [-sync] ROOT` prints JSON; with -sync each file and its directory are
// synced before the next step.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

type marker struct {
	Workspace   string `json:"workspace"`
	UpdatedAt   string `json:"updated_at"`
	Runs        int    `json:"runs"`
	CommittedAt string `json:"committed_at"`
}

var synced = flag.Bool("sync", false, "sync each file and its directory")

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(path string, how int, data []byte) {
	file, err := os.OpenFile(path, how|os.O_CREATE|os.O_WRONLY, 0o644)
	must(err)
	_, err = file.Write(data)
	must(err)
	if *synced {
		must(file.Sync())
	}
	must(file.Close())
}

func syncDirectory(path string) {
	if !*synced {
		return
	}
	directory, err := os.Open(path)
	must(err)
	must(directory.Sync())
	must(directory.Close())
}

func commit(root, workspace string) bool {
	meta := filepath.Join(workspace, ".meta")
	data, err := os.ReadFile(filepath.Join(meta, "status.json"))
	must(err)
	status := map[string]any{}
	must(json.Unmarshal(data, &status))
	if status["status"] != "completed" {
		return false
	}
	name, err := filepath.Rel(root, workspace)
	must(err)
	updated, runs := status["updated_at"].(string), int(status["runs"].(float64))
	if data, err := os.ReadFile(filepath.Join(meta, "commit.json")); err == nil {
		var found marker
		if json.Unmarshal(data, &found) == nil && found.UpdatedAt == updated && found.Runs == runs {
			return false
		}
	}
	committed := time.Now().UTC().Format(time.RFC3339)
	delete(status, "pid")
	status["workspace"], status["committed_at"] = name, committed
	if data, err := os.ReadFile(filepath.Join(meta, "report.json")); err == nil {
		report := map[string]any{}
		must(json.Unmarshal(data, &report))
		status["report"], status["findings"], status["changes"] = report, report["findings"], report["changes"]
	}
	line, err := json.Marshal(status)
	must(err)
	write(filepath.Join(meta, "journal.jsonl"), os.O_APPEND, append(line, '\n'))
	syncDirectory(meta)
	data, err = json.Marshal(marker{name, updated, runs, committed})
	must(err)
	temporary := filepath.Join(meta, ".commit.json.tmp")
	write(temporary, os.O_TRUNC, data)
	must(os.Rename(temporary, filepath.Join(meta, "commit.json")))
	syncDirectory(meta)
	return true
}

func main() {
	flag.Parse()
	root := flag.Arg(0)
	started := time.Now()
	workspaces, err := filepath.Glob(filepath.Join(root, "*", "*", "*"))
	must(err)
	count := 0
	for _, workspace := range workspaces {
		if commit(root, workspace) {
			count++
		}
	}
	fmt.Printf("{\"seconds\": %f, \"committed\": %d}\n", time.Since(started).Seconds(), count)
}
