"""`proxy-config` on a dump from a file, and on a running Envoy's admin interface."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from click.testing import Result

Run = Callable[..., Result]
Admin = Callable[[Path, str, dict[str, str]], AbstractContextManager[list[str]]]
Json = dict[str, object]

ANY = "type.googleapis.com/envoy."
HOST = "reviews.default.svc.cluster.local"
V1 = f"outbound|9080|v1|{HOST}"


def socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def istio(**metadata: object) -> Json:
    return {"filter_metadata": {"istio": metadata}}


def document(kind: str, name: str) -> str:
    return f"/apis/networking.istio.io/v1/namespaces/default/{kind}/{name}"


def manager(**config: object) -> Json:
    kind = f"{ANY}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"filters": [{"name": "hcm", "typed_config": {"@type": kind, "stat_prefix": "x", **config}}]}


def tcp(**config: object) -> Json:
    kind = f"{ANY}extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {"filters": [{"typed_config": {"@type": kind, **config}}]}


CLUSTERS: list[Json] = [
    {"name": V1, "type": "EDS", "metadata": istio(config=document("destination-rule", "stars"))},
    {"name": f"outbound|80||{HOST}", "type": "EDS"},
    {"name": "inbound|8080||", "type": "STATIC", "metadata": istio(services=[{"host": HOST}])},
    {"name": "PassthroughCluster", "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}},
]
INLINE: Json = {"virtual_hosts": [{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "inbound|8080||"}}]}]}
HEALTHZ: Json = {"virtual_hosts": [{"routes": [{"match": {"path": "/healthz"}}]}]}
LISTENERS: list[Json] = [
    {
        "name": "10.0.0.1_9080",
        "address": socket("10.0.0.1", 9080),
        "filter_chains": [manager(rds={"route_config_name": "9080"})],
    },
    {"name": "10.0.0.2_8080", "address": socket("10.0.0.2", 8080), "filter_chains": [manager(route_config=INLINE)]},
    {"name": "0.0.0.0_80", "internal_listener": {}, "filter_chains": [{"filters": []}]},
    {
        "name": "virtual",
        "address": socket("::", 15006),
        "filter_chains": [
            {"filter_chain_match": {"server_names": ["a", "b"], "transport_protocol": "tls"}, **tcp(cluster="c")},
            {
                "filter_chain_match": {"destination_port": 81, "application_protocols": ["h2"]},
                **manager(route_config=HEALTHZ),
            },
        ],
        "default_filter_chain": tcp(
            weighted_clusters={"clusters": [{"name": "x", "weight": 9}, {"name": "y", "weight": 1}]}
        ),
    },
]
ROUTES: list[Json] = [
    {
        "name": "9080",
        "virtual_hosts": [
            {
                "name": f"{HOST}:9080",
                "domains": [HOST, f"{HOST}:9080", "reviews", "reviews:9080", "reviews.default", "1.2.3.4"],
                "routes": [
                    {
                        "match": {"prefix": "/", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]},
                        "route": {"cluster": V1},
                        "metadata": istio(config=document("virtual-service", "reviews")),
                    },
                    {"match": {"safe_regex": {"regex": "/a.*"}, "query_parameters": [{"name": "q"}]}},
                    {"match": {"path_separated_prefix": "/api"}},
                    {"match": {"connect_matcher": {}}, "route": {"cluster": "c"}},
                ],
            },
            {"name": "allow_any", "domains": ["*"], "routes": [{"match": {"path": "/x"}}]},
        ],
    },
    {"name": "80"},
]  # fmt: skip
LOADS: list[Json] = [
    {
        "cluster_name": V1,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket("10.0.0.9", 9080)}, "health_status": "HEALTHY"}]},
            {"lb_endpoints": [{"endpoint": {"address": socket("fd00::1", 9080)}, "health_status": "DRAINING"}]},
        ],
    },
    {
        "cluster_name": "xds-grpc",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/s"}}}}]}],
    },
]
BOOTSTRAP: Json = {
    "node": {
        "id": "sidecar~10.0.0.2~reviews-v1.default~default.svc.cluster.local",
        "cluster": "reviews.default",
        "metadata": {"SERVICE_ACCOUNT": "sa", "LABELS": {"app": "reviews"}, "INTERCEPTION_MODE": "NONE"},
        "locality": {"region": "eu", "zone": "a"},
        "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}, "metadata": {}},
    },
    "admin": {"address": {"pipe": {"path": "/admin.sock"}}},
    "static_resources": {"clusters": [{"name": "xds-grpc", "load_assignment": LOADS[1]}]},
}


def part(kind: str, **content: object) -> Json:
    return {"@type": f"{ANY}admin.v3.{kind}", **content}


DUMP: Json = {
    "configs": [
        part("BootstrapConfigDump", bootstrap=BOOTSTRAP),
        part("ClustersConfigDump", dynamic_active_clusters=[{"cluster": each} for each in CLUSTERS]),
        part("ListenersConfigDump", dynamic_listeners=[{"active_state": {"listener": each}} for each in LISTENERS]),
        part("ScopedRoutesConfigDump"),
        part("RoutesConfigDump", dynamic_route_configs=[{"route_config": each} for each in ROUTES]),
        part("EndpointsConfigDump", dynamic_endpoint_configs=[{"endpoint_config": each} for each in LOADS]),
    ]
}
STATUSES: Json = {
    "cluster_statuses": [
        {
            "name": V1,
            "host_statuses": [
                {"address": socket("10.0.0.9", 9080), "health_status": {"eds_health_status": "HEALTHY"}},
                {
                    "address": socket("10.0.0.8", 9080),
                    "health_status": {"eds_health_status": "HEALTHY", "failed_outlier_check": True},
                },
            ],
        }
    ]
}

TABLES = {
    "cluster": f"""\
SERVICE FQDN                        PORT   SUBSET   DIRECTION   TYPE                                   DESTINATION RULE
PassthroughCluster                  -      -        -           envoy.clusters.dynamic_forward_proxy
{HOST}   80     -        outbound    EDS
{HOST}   8080   -        inbound     STATIC
{HOST}   9080   v1       outbound    EDS                                    stars.default
""",
    "listener": """\
ADDRESSES    PORT    MATCH                   DESTINATION
(internal)   80      ALL                     Non-HTTP/Non-TCP
10.0.0.2     8080    ALL                     Cluster: inbound|8080||
10.0.0.1     9080    ALL                     Route: 9080
::           15006   SNI: a,b; Trans: tls    Cluster: c
::           15006   Addr: *:81; App: h2     Inline Route: /healthz
::           15006   ALL                     Cluster: x (9), y (1)
""",
    "endpoint": f"""\
ENDPOINT         STATUS     OUTLIER CHECK   CLUSTER
10.0.0.9:9080    HEALTHY    -               {V1}
[fd00::1]:9080   DRAINING   -               {V1}
unix:///s        UNKNOWN    -               xds-grpc
""",
    "bootstrap": """\
FIELD             VALUE
Node              sidecar~10.0.0.2~reviews-v1.default~default.svc.cluster.local
Cluster           reviews.default
Envoy             1.40.0
Service account   sa
Labels            app=reviews
Locality          eu/a
Interception      NONE
Manager           unix:///s
Admin             unix:///admin.sock
""",
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "config_dump.json"
    path.write_text(json.dumps(DUMP))
    return str(path)


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.stderr
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_as_reviewed(name: str, istioctl: Run, file: str) -> None:
    """Istio's columns; sorted; a default of protobuf that the dump leaves out is written."""
    result = istioctl("proxy-config", name, "-f", file)
    assert (result.exit_code, squeezed(result.stdout)) == (0, squeezed(TABLES[name]))


def squeezed(text: str) -> list[list[str]]:
    """Widths of columns are tested elsewhere."""
    return [line.split() for line in text.splitlines()]


def test_routes_are_listed_in_the_order_in_which_envoy_tries_them(istioctl: Run, file: str) -> None:
    """One row per route; few domains, without those that are there twice; conditions beside the path are named."""
    domains = f"{HOST}, reviews + 2 more..."
    assert rows(istioctl("pc", "route", "-f", file)) == [
        ["80"],
        ["9080", "allow_any", "*", "/x"],
        ["9080", f"{HOST}:9080", domains, "/*, header end-user", "reviews.default"],
        ["9080", f"{HOST}:9080", domains, "regex /a.*, query q"],
        ["9080", f"{HOST}:9080", domains, "PathPrefix:/api"],
        ["9080", f"{HOST}:9080", domains, "CONNECT"],
    ]


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("cluster --fqdn reviews --port 9080", [HOST]),
        ("cluster --subset v1", [HOST]),
        ("clusters --direction inbound", [HOST]),
        ("c --fqdn Passthrough", ["PassthroughCluster"]),
        ("listener --address 10.0.0.2", ["10.0.0.2"]),
        ("l --port 9080", ["10.0.0.1"]),
        ("l --port 80", ["(internal)"]),
        ("listeners --type http", ["10.0.0.2", "10.0.0.1"]),
        ("l --type http+tcp", ["::", "::", "::"]),
        ("l --type unknown", ["(internal)"]),
        ("r --name 80", ["80"]),
        ("ep --cluster xds", ["unix:///s"]),
        ("endpoints --status healthy", ["10.0.0.9:9080"]),
        ("ep --status unhealthy", ["[fd00::1]:9080", "unix:///s"]),
        ("ep --address fd00::1 --port 9080", ["[fd00::1]:9080"]),
        ("ep --port 9081", []),
    ],
)
def test_filters_leave_what_is_asked_for(line: str, first: list[str], istioctl: Run, file: str) -> None:
    """Each filter narrows its part; several narrow together; Istio's short names of the parts are understood."""
    assert [row[0] for row in rows(istioctl("pc", *line.split(), "-f", file))] == first


def test_nothing_left_is_said_and_is_no_failure(istioctl: Run, file: str) -> None:
    """stdout stays empty, so that a pipe gets nothing."""
    result = istioctl("pc", "route", "--name", "nope", "-f", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no route is like that\n")


def test_json_and_yaml_are_what_envoy_said(istioctl: Run, file: str) -> None:
    """Unchanged, with fields that no table knows; filtered like the table; of the bootstrap there is one."""
    found = istioctl("pc", "listener", "--port", "9080", "-o", "json", "-f", file).stdout
    assert json.loads(found) == [LISTENERS[0]]
    assert yaml.safe_load(istioctl("pc", "cluster", "--subset", "v1", "-o", "yaml", "-f", file).stdout) == [CLUSTERS[0]]
    assert json.loads(istioctl("pc", "bootstrap", "-o", "json", "-f", file).stdout) == BOOTSTRAP
    assert json.loads(istioctl("pc", "route", "--name", "x", "-o", "json", "-f", file).stdout) == []
    (endpoint,) = json.loads(istioctl("pc", "ep", "--status", "healthy", "-o", "json", "-f", file).stdout)
    assert endpoint == {
        "address": "10.0.0.9", "port": 9080, "status": "HEALTHY", "outlierCheck": "-", "cluster": V1,
    }  # fmt: skip


def test_everything_can_be_saved_and_read_again(istioctl: Run, file: str) -> None:
    """`all -o json` is a dump; as a table, all parts follow each other."""
    saved = istioctl("pc", "all", "-o", "json", "-f", file).stdout
    assert json.loads(saved) == DUMP
    result = istioctl("pc", "all", "-f", "-", stdin=saved)
    assert [text.split("   ")[0] for text in result.stdout.split("\n\n")] == [
        "SERVICE FQDN", "ADDRESSES", "NAME", "ENDPOINT",
    ]  # fmt: skip


def test_clusters_tell_who_was_ejected(istioctl: Run) -> None:
    """Envoy's /clusters is understood as well; who is ejected is not fit to be called, whatever the registry says."""
    text = json.dumps(STATUSES)
    assert rows(istioctl("pc", "ep", "-f", "-", stdin=text)) == [
        ["10.0.0.8:9080", "HEALTHY", "FAILED", V1],
        ["10.0.0.9:9080", "HEALTHY", "OK", V1],
    ]
    assert [row[0] for row in rows(istioctl("pc", "ep", "--status", "unhealthy", "-f", "-", stdin=text))] == [
        "10.0.0.8:9080"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"configs": []}',
        '{"configs": [5]}',
        '{"configs": [{"@type": "x.ClustersConfigDump", "static_clusters": 5}]}',
        '{"configs": [{"@type": "x.ClustersConfigDump", "static_clusters": [{"cluster": {"name": 5}}]}]}',
    ],
)
def test_what_is_no_dump_is_refused(text: str, istioctl: Run) -> None:
    """Another file, or a part in another form than Envoy's: a sentence, and how to take a dump."""
    result = istioctl("pc", "cluster", "-f", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: <stdin> is no dump of Envoy's configuration" in result.stderr
    assert "fix:   save one with: istioctl proxy-config all" in result.stderr


def test_a_dump_needs_no_server_and_no_protos(file: str) -> None:
    """Reading a file loads JSON only: not grpc, protobuf, asyncio, nor an HTTP client."""
    heavy = ("grpc", "google.protobuf", "envoy", "asyncio", "http.client", "starlette", "uvicorn", "httpx")
    program = (
        "import sys; from click.testing import CliRunner; from istioctl.cli import app\n"
        f"assert CliRunner().invoke(app, ['pc', 'all', '-f', {file!r}]).exit_code == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- a running proxy ---------------------------------------------------------------------------------------------------


ANSWERS = {"/config_dump?include_eds": json.dumps(DUMP), "/clusters?format=json": json.dumps(STATUSES)}


def test_a_running_proxy_is_asked(istioctl: Run, state_dir: Path, admin: Admin) -> None:
    """By name, or name and namespace. Health is asked for where it is shown, and is part of what `all` saves."""
    with admin(state_dir, "reviews-v1.default", ANSWERS) as asked:
        assert rows(istioctl("pc", "route", "reviews-v1", "--name", "80")) == [["80"]]
        assert asked == ["/config_dump?include_eds"]
        assert [row[2] for row in rows(istioctl("pc", "ep", "reviews-v1.default"))] == ["FAILED", "OK"]
        assert json.loads(istioctl("pc", "all", "reviews-v1", "-o", "json").stdout) == DUMP | STATUSES


def test_long_names_are_found(istioctl: Run, admin: Admin) -> None:
    """The directory of a long name is shortened; the bootstrap in it says the name."""
    name = "a-service-with-a-name-that-is-much-too-long-v1"
    # pytest's own directories leave no room for it in the path of a socket.
    with tempfile.TemporaryDirectory() as state, admin(Path(state), f"{name}.default", ANSWERS):
        assert istioctl("--state-dir", state, "pc", "bootstrap", name).exit_code == 0


def test_names_of_running_proxies_are_completed(istioctl: Run, state_dir: Path, admin: Admin) -> None:
    """As one would type them; what is no sidecar's directory is passed over."""
    (state_dir / "proxies" / "empty").mkdir(parents=True)
    with admin(state_dir, "reviews-v1.default", ANSWERS), admin(state_dir, "cart-v1.shop", ANSWERS):
        program = "from istioctl.cli import main; main()"
        asked = {"_ISTIOCTL_COMPLETE": "fish_complete", "COMP_WORDS": "istioctl pc c ", "COMP_CWORD": ""}
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=False
        )
    assert done.stdout.split() == ["plain,reviews-v1", "plain,cart-v1.shop"]


def test_a_proxy_that_is_not_there_is_answered_with_the_nearest(istioctl: Run, state_dir: Path, admin: Admin) -> None:
    """A typo, and a name of another namespace."""
    with admin(state_dir, "reviews-v1.default", ANSWERS):
        assert 'fix:   did you mean "reviews-v1"?' in istioctl("pc", "c", "reviws-v1").stderr
        assert 'fix:   did you mean "reviews-v1.default"?' in istioctl("pc", "c", "reviews-v1", "-n", "shop").stderr


def test_without_a_mesh_the_file_is_named_as_a_way(istioctl: Run) -> None:
    """Nothing runs here: start one, or read a dump."""
    result = istioctl("pc", "cluster", "reviews-v1")
    assert result.exit_code == 1
    assert "no mesh runs with the state directory" in result.stderr
    assert "read a file with -f" in result.stderr


def test_an_envoy_that_is_gone_is_said(istioctl: Run, state_dir: Path, admin: Admin) -> None:
    """The directory is there, and nobody listens."""
    with admin(state_dir, "reviews-v1.default", ANSWERS):
        pass
    result = istioctl("pc", "cluster", "reviews-v1")
    assert result.exit_code == 1
    assert "no answer from Envoy" in result.stderr


def test_an_envoy_that_answers_something_else_is_explained(istioctl: Run, state_dir: Path, admin: Admin) -> None:
    """No traceback, whatever comes back."""
    with admin(state_dir, "reviews-v1.default", {"/config_dump?include_eds": "not found"}):
        result = istioctl("pc", "cluster", "reviews-v1")
    assert result.exit_code == 1
    assert "answered /config_dump?include_eds with something else" in result.stderr
