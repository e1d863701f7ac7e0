"""djangorestframework-api-key in a Django project of one file, as its guide has it.
`python with_django.py` makes the table and the keys.
"""

import sys

import django
from django.conf import settings

import key_file

KEYS = 1000
settings.configure(
    SECRET_KEY="of this bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_api_key",
    ],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": key_file.folder() / "keys.db",
            "CONN_MAX_AGE": None,
            "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"},
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework_api_key.permissions.HasAPIKey"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
    },
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_api_key.models import APIKey  # noqa: E402


@api_view(["GET"])
def orders(request):
    return Response({"orders": []})


urlpatterns = [path("orders", orders)]
app = get_wsgi_application()


def prepare() -> None:
    call_command("migrate", verbosity=0)
    valid = [APIKey.objects.create_key(name=f"deployment {n}")[1] for n in range(KEYS)]
    gone = []
    for number in range(100):
        record, key = APIKey.objects.create_key(name=f"gone {number}")
        record.delete()
        gone.append(key)
    key_file.write(valid, gone)


if __name__ == "__main__":
    sys.exit(prepare())
