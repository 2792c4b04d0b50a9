package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// apacheConf has what Apache needs to run and nothing that is another way by default.
const apacheConf = `
LoadModule mpm_event_module   /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module  /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module         /usr/lib/apache2/modules/mod_dir.so
LoadModule cache_module       /usr/lib/apache2/modules/mod_cache.so
LoadModule cache_disk_module  /usr/lib/apache2/modules/mod_cache_disk.so
LoadModule proxy_module       /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module  /usr/lib/apache2/modules/mod_proxy_http.so
ServerRoot   %[1]s
PidFile      %[1]s/pid
ErrorLog     /dev/stderr
LogFormat    "%%m %%U" request
CustomLog    %[1]s/access.log request
User         www-data
Group        www-data
ServerName   apache
Listen       %[2]s
DocumentRoot %[1]s/htdocs
CacheRoot    %[1]s/cache
`

// Apache is a running Apache HTTP Server.
type Apache struct{ Address, dir string }

// StartApache starts one with these lines in its configuration. It serves the files
// below htdocs, where there is the directory docs.
func StartApache(t *testing.T, lines string) *Apache {
	t.Helper()
	a := &Apache{dir: openDir(t)}
	for _, name := range []string{"htdocs/docs", "cache"} {
		if err := os.MkdirAll(filepath.Join(a.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(a.dir, "cache"), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(a.dir, "htdocs", "docs", "index.html"), "documents\n")
	a.Address = start(t, func(address string) process.Command {
		conf := write(t, filepath.Join(a.dir, "apache.conf"), fmt.Sprintf(apacheConf, a.dir, address)+lines+"\n")
		return process.Command{Path: "apache2", Args: []string{"-D", "FOREGROUND", "-f", conf}, Dir: a.dir}
	})
	return a
}

// Requests returns a line for each request so far: method and path.
func (a *Apache) Requests() ([]byte, error) { return os.ReadFile(filepath.Join(a.dir, "access.log")) }
