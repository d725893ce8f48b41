"""Django's settings, from the environment value and nothing else."""

from __future__ import annotations

from datetime import timedelta

from config import addresses, databases, logs
from config.env import ROOT, env

BASE_DIR = ROOT
SECRET_KEY = env.secret_key
DEBUG = env.debug
ALLOWED_HOSTS = list(env.allowed_hosts)
CSRF_TRUSTED_ORIGINS = [f"http://127.0.0.1:{env.web_port}", f"http://localhost:{env.web_port}"]

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",  # discovered by config.urls: only the web process loads the admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "agents",
    "quota",
    "invocation",
    "evals",
    "config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

BATCH_DATABASE = databases.BATCH if env.batch_database_url else databases.DEFAULT
DATABASES = {"default": addresses.database(env.database_url)}
if env.batch_database_url:
    DATABASES[BATCH_DATABASE] = addresses.database(env.batch_database_url)
DATABASE_ROUTERS = ["config.databases.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = addresses.redis_database(env.redis_url, 0)
BROKER_URL = env.broker_url or addresses.redis_database(env.redis_url, 1)
CELERY_RESULT_URL = addresses.redis_database(env.redis_url, 2)

AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}}]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = env.home / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["quota.api.authentication.BearerKey"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "invocation.api.problems.answer",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # `format` is a field of a query like any other
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Gearbox",
    "DESCRIPTION": "One agent, four ways to invoke it: live chat, durable job, batch and schedule.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/v1",
}

# What the apps below config read; each is one value of the environment or of the composition.
GEARBOX_HOME = env.home
CELERY_APP = "config.celery.app"
AGENT_MODULES = ("agents.mangaassist.agent", "agents.patterns.supervisor", "agents.patterns.broker")
ENDPOINT_MODULES = env.endpoint_modules
PUBLIC_URL = (env.public_url or f"http://{env.web_host}:{env.web_port}").rstrip("/")
ENDPOINT_LOCK = ROOT / "config" / "endpoints.lock.json"
MODEL_PROVIDER = env.model_provider
MODEL_BASE_URL = env.model_base_url
MODEL_API_KEY = env.model_api_key
MODEL_REGION = env.model_region
MODEL_TIERS = env.model_tiers
FIRST_DELTA_GRACE = timedelta(milliseconds=env.first_delta_grace_ms)
OFFLINE_FIRST_TOKEN_MS = env.offline_first_token_ms
OFFLINE_TOKEN_MS = env.offline_token_ms
OFFLINE_CAPACITY = env.offline_capacity
OFFLINE_FAULT_MARKERS = env.offline_fault_markers
OBJECT_STORE = env.object_store
S3_ENDPOINT_URL = env.s3_endpoint_url
GLUE_DATABASE = env.glue_database
ROWS_IN_FLIGHT = env.rows_in_flight
ROWS_OF_A_SHARD = env.rows_of_a_shard
SHARD_SLICE_S = env.shard_slice_s
LEASE_S = env.lease_s
HEARTBEAT_S = env.heartbeat_s
DRAIN_S = env.drain_s
WEB_CONNECTIONS = env.web_connections
ALLOWED_ORIGINS = env.allowed_origins
IDLE_S = env.idle_s
COMES_BACK_S = env.comes_back_s
BREAKER_FAILURES = env.breaker_failures
SLOTS = env.slots
WEBHOOK_ALLOW_PRIVATE = env.webhook_allow_private
ALERT_WEBHOOK_URL = env.alert_webhook_url
ALERT_WEBHOOK_SECRET = env.alert_webhook_secret
MANIFEST_MAX_BYTES = env.manifest_max_bytes
MANIFESTS_MAX_BYTES = env.manifests_max_bytes
RESULT_INLINE_BYTES = env.result_inline_bytes
RESULT_MAX_BYTES = env.result_max_bytes
RETAIN_RESULTS_DAYS = env.retain_results_days
RETAIN_JOURNAL_DAYS = env.retain_journal_days
RETAIN_JOBS_DAYS = env.retain_jobs_days

UNFOLD = {
    "SITE_TITLE": "Gearbox",
    "SITE_HEADER": "Gearbox",
    "SITE_SUBHEADER": "One agent, four ways to invoke it",
    "SITE_SYMBOL": "settings",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "invocation.admin.dashboard.fill",
    "STYLES": ["config.navigation.stylesheet", "config.navigation.money_stylesheet"],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "config.navigation.mark"}],
    "SIDEBAR": {"show_search": True, "navigation": "config.navigation.groups"},
}

logs.configure()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"django.request": {"level": "ERROR"}},
}
