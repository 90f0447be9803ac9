// Command bench measures the server from outside and prints each figure beside its yardstick from the same run: what the
// database or a bare HTTP server can do on the same machine at the same time. make bench runs it.
//
// It starts a private PostgreSQL with default durability and a roomline process, for media a MinIO, and shares the machine with them. A row
// that misses its goal makes the exit status 1. -run chooses rows by name.
//
// Start reading at rows, below; the measurements are in writes.go, delivery.go, reads.go, search.go, resources.go and media.go.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	_ "github.com/lib/pq"

	"github.com/roomline/roomline/internal/pgcluster"
)

const serverName = "bench.test"

// bench is one run.
type bench struct {
	dir      string
	slice    time.Duration // how long a rate is measured at a time
	cluster  *pgcluster.Cluster
	db       *sql.DB // for yardsticks, on a database of their own
	data     *sql.DB // the server's database
	server   *server
	accounts []*account
	rooms    rooms
	media    *objectStore // nil until a row needs it
	// liveKit is the media server of meetings, nil until a row needs it, and liveKitURL where clients reach it.
	liveKit    *exec.Cmd
	liveKitURL string
	// lastQueries is what the server asked the database when queries were counted.
	lastQueries []string
}

// row is a line of the table.
type row struct {
	name string
	run  func(b *bench) ([]figure, error)
}

// rows are in the order in which they are measured: each finds what the ones before have stored. A server is idle before people are on their way
// into calls.
var rows = []row{
	{"send, 64 senders in 64 rooms", (*bench).sendManyRooms},
	{"send, 64 senders in one room", (*bench).sendOneRoom},
	{"send, one sender", (*bench).sendAlone},
	{"send to sync, 10 receivers", (*bench).latency},
	{"200 receivers, 8 senders", (*bench).fanOut},
	{"sync with nothing new, 32 clients", (*bench).idleSync},
	{"initial sync, 500 rooms", (*bench).initialSync},
	{"sliding sync, first window", (*bench).firstWindow},
	{"sliding sync with nothing new, 32 clients", (*bench).idleSliding},
	{"send to sliding sync", (*bench).slidingLatency},
	{"messages back through 10,000 events", (*bench).history},
	{"join a room of 1,000 members", (*bench).joins},
	{"message in a room of 10,000", (*bench).crowdedRoom},
	{"keys/query, 1,000 users", (*bench).keyQuery},
	{"ready after start", (*bench).startUp},
	{"memory and CPU while idle", (*bench).idle},
	{"room directory of 100,000", (*bench).roomDirectory},
	{"user directory of 100,000", (*bench).userDirectory},
	{"address book of 10,000", (*bench).addressBook},
	{"import of 5,000 people", (*bench).directoryBridge},
	{"search in 1,000,000 messages", (*bench).search},
	{"20,000 events to an application service", (*bench).appserviceDelivery},
	{"invitation to mail handed over", (*bench).invitationsByMail},
	{"redeem 2,400 invitations", (*bench).redeem},
	{"tokens for calls", (*bench).minting},
	{"people who are kicked out of calls", (*bench).kicking},
	{"20 calls at once", (*bench).manyCalls},
	{"link opened to first picture", (*bench).firstFrame},
	{"phone: answer to first audio", (*bench).firstAudio},
	{"upload, 1 MiB, one stream", func(b *bench) ([]figure, error) { return b.uploads(1<<20, 1) }},
	{"upload, 1 MiB, 16 streams", func(b *bench) ([]figure, error) { return b.uploads(1<<20, 16) }},
	{"upload, 100 MiB, one stream", func(b *bench) ([]figure, error) { return b.uploads(100<<20, 1) }},
	{"upload, 100 MiB, 16 streams", func(b *bench) ([]figure, error) { return b.uploads(100<<20, 16) }},
	{"download, 1 MiB", func(b *bench) ([]figure, error) { return b.downloads(1<<20, 1, 16) }},
	{"download, 100 MiB", func(b *bench) ([]figure, error) { return b.downloads(100<<20, 1, 16) }},
	{"redirected download, 1 MiB", func(b *bench) ([]figure, error) { return b.redirected(1<<20, 1, 16) }},
	{"redirected download, 100 MiB", func(b *bench) ([]figure, error) { return b.redirected(100<<20, 1, 16) }},
	{"memory while 32 files are uploaded", (*bench).uploadMemory},
	{"thumbnail of 12 megapixels", (*bench).thumbnails},
	{"10,000 files deleted", (*bench).deletions},
}

// figure is what was measured, and its goal.
type figure struct {
	// details are printed when the goal is missed.
	details   []string
	what      string
	measured  string
	yardstick string
	ratio     string
	goal      string
	met       bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == echoCommand {
		fmt.Fprintln(os.Stderr, serveEcho(os.Args[2]))
		os.Exit(1)
	}
	if len(os.Args) == 4 && os.Args[1] == proxyCommand {
		fmt.Fprintln(os.Stderr, serveProxy(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	only := flag.String("run", "", "measure only rows whose name matches this regular expression")
	slice := flag.Duration("slice", 2*time.Second, "how long a rate is measured at a time")
	binary := flag.String("roomline", "", "the roomline binary to measure (default: built from this tree)")
	keep := flag.Bool("keep", false, "keep the directory with the server's log and database")
	flag.Parse()
	met, err := run(*only, *slice, *binary, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if !met {
		os.Exit(1)
	}
}

func run(only string, slice time.Duration, binary string, keep bool) (met bool, err error) {
	filter, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "roomline-bench-")
	if err != nil {
		return false, err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return false, err
	}
	if keep {
		fmt.Println("kept:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	b := &bench{dir: dir, slice: slice}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(binary); err != nil {
		return false, err
	}
	fmt.Printf("%d cores, %s, %s\n\n", runtime.NumCPU(), runtime.Version(), b.databaseVersion())
	fmt.Printf("%-38s %-30s %-30s %-10s %-16s\n", "", "measured", "yardstick", "ratio", "goal")
	met = true
	began := time.Now()
	for _, r := range rows {
		if !filter.MatchString(r.name) {
			continue
		}
		figures, err := r.run(b)
		if err != nil {
			met = false
			fmt.Printf("%-38s FAILED: %v\n", r.name, err)
			continue
		}
		for _, f := range figures {
			met = met && f.met
			fmt.Println(strings.TrimRight(fmt.Sprintf("%-38s %-30s %-30s %-10s %-16s %s",
				f.what, f.measured, f.yardstick, f.ratio, f.goal, map[bool]string{true: "pass", false: "MISS"}[f.met]), " "))
			for _, line := range f.details {
				if !f.met {
					fmt.Println("    " + line)
				}
			}
		}
	}
	fmt.Printf("\n%s\n", time.Since(began).Round(time.Second))
	return met, nil
}

// open starts PostgreSQL and the server.
func (b *bench) open(binary string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if binary == "" {
		if binary, err = buildServer(b.dir); err != nil {
			return err
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	b.cluster, err = pgcluster.Start(ctx, pgcluster.Options{
		Dir: filepath.Join(b.dir, "pg"), Log: slog.New(slog.DiscardHandler), MaxConnections: 200,
	})
	if err != nil {
		return err
	}
	if b.db, err = openDatabase(b.cluster.DSN("postgres")); err != nil {
		return err
	}
	if b.data, err = openDatabase(b.cluster.DSN(pgcluster.Database)); err != nil {
		return err
	}
	if b.server, err = newServer(binary, b.dir, b.cluster.DSN(pgcluster.Database)); err != nil {
		return err
	}
	_, err = b.server.start()
	return err
}

func openDatabase(dsn string) (*sql.DB, error) {
	db, err := sql.Open("postgres", dsn+"&binary_parameters=yes")
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(64)
	return db, db.Ping()
}

func (b *bench) close() error {
	var errs []error
	if b.server != nil {
		errs = append(errs, b.server.stop())
	}
	if b.media != nil {
		b.media.stop()
	}
	b.stopMeetings()
	for _, db := range []*sql.DB{b.db, b.data} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Stop())
	}
	return errors.Join(errs...)
}

func (b *bench) databaseVersion() string {
	var version, durability string
	err := b.db.QueryRow(`
		SELECT 'PostgreSQL ' || current_setting('server_version'),
		       'fsync=' || current_setting('fsync') || ' synchronous_commit=' || current_setting('synchronous_commit')`).
		Scan(&version, &durability)
	if err != nil {
		return err.Error()
	}
	return version + " " + durability
}
